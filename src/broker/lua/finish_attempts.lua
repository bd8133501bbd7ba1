-- finish_attempts: end attempts: done, complete, retry, archive, requeue (front) or crash (back of the queue).
-- KEYS[1] list active   KEYS[2] zset lease   KEYS[3] list pending   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] int processed   KEYS[8] int failed   KEYS[9] int processed today   KEYS[10] int failed today
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix ns   ARGV[3] int end of today's counters, Unix s
-- ARGV[4..] per attempt: string id, string owner or '' , int lease end it must have when no owner is given,
--   string outcome, bytes message, int score, 1 when it counts as a failure, string unique key or ''
-- Returns: array, per attempt 1 (stored), 0 (no longer theirs, nothing changed) or an error text (nothing changed)
local processed, failed = 0, 0
local keep_free = {'cronmill_owner', 'cronmill_lease'}

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
    redis.call('UNLINK', task)
    return unlock(unique, id)
  end
  redis.call('HSET', task, 'state', STATES[outcome])
  redis.call('HDEL', task, unpack(keep_free))
  if outcome == 'requeue' or outcome == 'crash' then
    redis.call('HSET', task, 'pending_since', ARGV[2])
    if outcome == 'crash' then redis.call('HINCRBY', task, 'cronmill_crashes', 1) end
  else
    redis.call('HSET', task, 'msg', message)
    redis.call('HDEL', task, 'cronmill_crashes')
    if outcome == 'complete' then unlock(unique, id) end
  end
end

local function finish(i)
  local id, owner, outcome = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local task = ARGV[1] .. id
  if owner == '' then
    if redis.call('ZSCORE', KEYS[2], id) ~= ARGV[i + 2] then return 0 end
  elseif not owned(KEYS[2], task, id, owner) then
    return 0
  end
  local revoked = redis.call('HEXISTS', task, 'cronmill_revoked') == 1
  if revoked and outcome ~= 'complete' then outcome = 'done' end
  local entered = enter(outcome, id, ARGV[i + 5])
  if type(entered) == 'table' and entered.err then return entered.err end
  leave_list(KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
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
for i = 4, #ARGV, 8 do verdicts[#verdicts + 1] = finish(i) end
count(KEYS[7], KEYS[9], processed)
count(KEYS[8], KEYS[10], failed)
return verdicts
