-- finish_attempts: end attempts: done, complete, retry, archive, requeue (front) or crash (back of the queue).
-- KEYS[1] list active   KEYS[2] zset lease   KEYS[3] list pending   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] int processed   KEYS[8] int failed   KEYS[9] int processed today   KEYS[10] int failed today
-- KEYS[11] zset locks
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix ns   ARGV[3] int end of today's counters, Unix s
-- ARGV[4..] per attempt: string id, string owner or '' , int lease end it must have when no owner is given,
--   string outcome, bytes message, int score, 1 when it counts as a failure, string unique key or ''
-- Returns: array, per attempt 1 (stored), 0 (no longer theirs, nothing changed) or an error text (nothing changed)
local processed, failed = 0, 0
local active_is_short = redis.call('LLEN', KEYS[1]) <= 64
local ids, ended, gone = {}, {}, {}
for i = 4, #ARGV, 8 do ids[#ids + 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', KEYS[2], unpack(ids))

-- The one write that can fail goes first, so a failure leaves the attempt as it was.
local function enter(outcome, id, score)
  if outcome == 'retry' then return redis.pcall('ZADD', KEYS[4], score, id) end
  if outcome == 'archive' then return redis.pcall('ZADD', KEYS[5], score, id) end
  if outcome == 'complete' then return redis.pcall('ZADD', KEYS[6], score, id) end
  if outcome == 'requeue' then return redis.pcall('RPUSH', KEYS[3], id) end
  if outcome == 'crash' then return redis.pcall('LPUSH', KEYS[3], id) end
  return 1
end

local STATES = {retry = 'retry', archive = 'archived', complete = 'completed', requeue = 'pending', crash = 'pending'}

local function settle(task, id, outcome, message, unique)
  if outcome == 'done' then
    gone[#gone + 1] = task
    return unlock(unique, id, KEYS[11])
  end
  if outcome == 'requeue' or outcome == 'crash' then
    redis.call('HSET', task, 'state', 'pending', 'pending_since', ARGV[2])
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease')
    if outcome == 'crash' then redis.call('HINCRBY', task, 'cronmill_crashes', 1) end
  else
    redis.call('HSET', task, 'state', STATES[outcome], 'msg', message)
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease', 'cronmill_crashes')
    -- A task that was given up is not going to run, so it keeps no other from running.
    if outcome == 'archive' and unique == '' then unique = redis.call('HGET', task, 'unique_key') end
    if outcome ~= 'retry' then unlock(unique, id, KEYS[11]) end
  end
end

local function finish(i, score)
  local id, outcome = ARGV[i], ARGV[i + 3]
  local task = ARGV[1] .. id
  local is_theirs, revoked = owned(task, score, ARGV[i + 1])
  if ARGV[i + 1] == '' then is_theirs = score == ARGV[i + 2] end
  if not is_theirs or ended[id] then return 0 end
  if revoked and outcome ~= 'complete' then outcome = 'done' end
  local entered = enter(outcome, id, ARGV[i + 5])
  if type(entered) == 'table' and entered.err then return entered.err end
  if active_is_short then redis.call('LREM', KEYS[1], 1, id) else leave_list(KEYS[1], id) end
  ended[id] = true
  ended[#ended + 1] = id
  settle(task, id, outcome, ARGV[i + 4], ARGV[i + 7])
  if outcome == 'done' or outcome == 'complete' then processed = processed + 1 end
  if ARGV[i + 6] == '1' and (outcome == 'retry' or outcome == 'archive') then
    processed, failed = processed + 1, failed + 1
  end
  return 1
end

local function count(total, today, by)
  if by == 0 then return end
  if redis.call('INCRBY', today, by) == by then redis.call('EXPIREAT', today, ARGV[3]) end
  -- The lifetime total starts again where 64 bits end.
  local counted = redis.pcall('INCRBY', total, by)
  if type(counted) == 'table' and counted.err then redis.call('SET', total, by) end
end

local verdicts = {}
for n = 1, #ids do verdicts[n] = finish(n * 8 - 4, scores[n]) end
if #ended > 0 then redis.call('ZREM', KEYS[2], unpack(ended)) end
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
count(KEYS[7], KEYS[9], processed)
count(KEYS[8], KEYS[10], failed)
return verdicts
