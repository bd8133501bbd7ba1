-- finish_attempts: end attempts: done, complete, retry, archive, requeue (front) or crash (back of the queue).
-- KEYS[1] list active   KEYS[2] zset lease   KEYS[3] list pending   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] int processed   KEYS[8] int failed   KEYS[9] int processed today   KEYS[10] int failed today
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix ns   ARGV[3] int end of today's counters, Unix s
-- ARGV[4] string owner, or '' for whoever finds the leases run out
-- ARGV[5..] per attempt: string id, int lease end it is said to have, string outcome, string unique key or '',
--   and unless it is done, requeue or crash: bytes message, int score, 1 when it counts as a failure
-- Returns: array, per attempt 1 (stored), 0 (no longer theirs, nothing changed) or an error text (nothing changed)
local KEEPS_MESSAGE = {complete = 'completed', retry = 'retry', archive = 'archived'}
local processed, failed = 0, 0
local ended, gone = {}, {}

-- The ids whose lease ends when it is said to end: read once, since a score by itself is dear.
local leased = {}
local function score_of(id, said)
  if not leased[said] then
    leased[said] = {}
    for _, other in ipairs(redis.call('ZRANGE', KEYS[2], said, said, 'BYSCORE', 'LIMIT', '0', '64')) do
      leased[said][other] = said
    end
  end
  return leased[said][id] or redis.call('ZSCORE', KEYS[2], id)
end

-- The one write that can fail goes first, so a failure leaves the attempt as it was.
local function enter(outcome, id, score)
  if outcome == 'done' then return 1 end
  if outcome == 'retry' then return redis.pcall('ZADD', KEYS[4], score, id) end
  if outcome == 'archive' then return redis.pcall('ZADD', KEYS[5], score, id) end
  if outcome == 'complete' then return redis.pcall('ZADD', KEYS[6], score, id) end
  if outcome == 'requeue' then return redis.pcall('RPUSH', KEYS[3], id) end
  return redis.pcall('LPUSH', KEYS[3], id)
end

local function settle(task, id, outcome, unique, message)
  if outcome == 'done' then
    gone[#gone + 1] = task
    return unlock(unique, id)
  end
  if KEEPS_MESSAGE[outcome] then
    redis.call('HSET', task, 'state', KEEPS_MESSAGE[outcome], 'msg', message)
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease', 'cronmill_crashes', 'pending_since')
    if outcome == 'complete' then unlock(unique, id) end
  else
    redis.call('HSET', task, 'state', 'pending', 'pending_since', ARGV[2])
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease')
    if outcome == 'crash' then redis.call('HINCRBY', task, 'cronmill_crashes', '1') end
  end
end

local function finish(a, outcome)
  local id, task = ARGV[a], ARGV[1] .. ARGV[a]
  local score = score_of(id, ARGV[a + 1])
  local is_theirs, revoked = owned(task, score, ARGV[4])
  if ARGV[4] == '' then is_theirs = score == ARGV[a + 1] end
  if not is_theirs or ended[id] then return 0 end
  local message, at, counts = ARGV[a + 4], ARGV[a + 5], ARGV[a + 6]
  if revoked and outcome ~= 'complete' then outcome = 'done' end
  local entered = enter(outcome, id, at)
  if type(entered) == 'table' and entered.err then return entered.err end
  ended[id] = true
  ended[#ended + 1] = id
  settle(task, id, outcome, ARGV[a + 3], message)
  local has_failed = counts == '1' and (outcome == 'retry' or outcome == 'archive')
  if has_failed then failed = failed + 1 end
  if has_failed or outcome == 'done' or outcome == 'complete' then processed = processed + 1 end
  return 1
end

local function count(total, today, by)
  if by == 0 then return end
  if redis.call('INCRBY', today, by) == by then redis.call('EXPIREAT', today, ARGV[3]) end
  -- The lifetime total starts again where 64 bits end.
  local counted = redis.pcall('INCRBY', total, by)
  if type(counted) == 'table' and counted.err then redis.call('SET', total, by) end
end

local verdicts, a = {}, 5
while a <= #ARGV do
  local outcome = ARGV[a + 2]
  verdicts[#verdicts + 1] = finish(a, outcome)
  a = a + (KEEPS_MESSAGE[outcome] and 7 or 4)
end
if #ended > 0 then
  leave_together(KEYS[1], ended)
  redis.call('ZREM', KEYS[2], unpack(ended))
end
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
count(KEYS[7], KEYS[9], processed)
count(KEYS[8], KEYS[10], failed)
return verdicts
