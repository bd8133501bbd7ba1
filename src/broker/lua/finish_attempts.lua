-- finish_attempts: end attempts: done, complete, retry, archive, requeue (front), crash (back of the queue),
--   snooze (later, no failure) or withdraw (archived, no failure: cancelled or expired).
-- KEYS[1] list active   KEYS[2] zset lease   KEYS[3] list pending   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] int processed   KEYS[8] int failed   KEYS[9] int processed today   KEYS[10] int failed today
-- KEYS[11] zset scheduled
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix ns   ARGV[3] int end of today's counters, Unix s
-- ARGV[4] string owner, or '' for whoever finds the leases run out
-- ARGV[5..] per attempt: string id, int lease end it is said to have, string outcome, string unique key or '',
--   unless it is done: bytes message (of requeue, crash and snooze: as it stands if it was cancelled);
--   unless it is done, requeue or crash: int score, 1 when it counts as a failure; and of retry, archive, withdraw
--   and snooze: string record of the error, or reason of the snooze, '' for none
-- Returns: array, per attempt 1 (stored), 0 (no longer theirs, nothing changed) or an error text (nothing changed)
local KEEPS_MESSAGE = {complete = 'completed', retry = 'retry', archive = 'archived', withdraw = 'archived'}
local ARGUMENTS = {done = 4, requeue = 5, crash = 5, complete = 7, retry = 8, archive = 8, withdraw = 8, snooze = 8}
-- What a cancel turns other ends into: a failure of its own is an attempt's last, the rest is withdrawn.
local CANCELLED = {retry = 'archive', requeue = 'withdraw', crash = 'withdraw', snooze = 'withdraw'}
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
  if outcome == 'archive' or outcome == 'withdraw' then return redis.pcall('ZADD', KEYS[5], score, id) end
  if outcome == 'complete' then return redis.pcall('ZADD', KEYS[6], score, id) end
  if outcome == 'requeue' then return redis.pcall('RPUSH', KEYS[3], id) end
  if outcome == 'snooze' then return redis.pcall('ZADD', KEYS[11], score, id) end
  return redis.pcall('LPUSH', KEYS[3], id)
end

local function settle(task, id, outcome, unique, message)
  if outcome == 'done' then
    gone[#gone + 1] = task
    return unlock(unique, id)
  end
  if KEEPS_MESSAGE[outcome] then
    redis.call('HSET', task, 'state', KEEPS_MESSAGE[outcome], 'msg', message)
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease', 'cronmill_crashes', 'cronmill_cancel', 'pending_since')
    if outcome == 'complete' or outcome == 'withdraw' then unlock(unique, id) end
  elseif outcome == 'snooze' then
    redis.call('HSET', task, 'state', 'scheduled')
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease', 'cronmill_crashes', 'cronmill_cancel', 'pending_since')
  else
    redis.call('HSET', task, 'state', 'pending', 'pending_since', ARGV[2])
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease', 'cronmill_cancel')
    if outcome == 'crash' then redis.call('HINCRBY', task, 'cronmill_crashes', '1') end
  end
end

-- The last ten errors stand in a ring: what is kept is bounded, and writing one costs the same whatever there is.
-- Whatever somebody else wrote into these fields, the attempt ends.
local function remember(task, outcome, record, score)
  if outcome == 'snooze' then
    redis.pcall('HINCRBY', task, 'cronmill_snoozes', '1')
    redis.call('HSET', task, 'cronmill_snoozed', score .. '|' .. record)
  elseif record ~= '' then
    local n = redis.pcall('HINCRBY', task, 'cronmill_errors', '1')
    if type(n) == 'number' then
      redis.call('HSET', task, 'cronmill_error:' .. n % 10, '1|' .. n .. '|' .. record)
    end
  end
end

local function finish(a, outcome)
  local id, task = ARGV[a], ARGV[1] .. ARGV[a]
  local score = score_of(id, ARGV[a + 1])
  local is_theirs, revoked = owned(task, score, ARGV[4])
  if ARGV[4] == '' then is_theirs = score == ARGV[a + 1] end
  if not is_theirs or ended[id] then return 0 end
  local message, at, counts = ARGV[a + 4], ARGV[a + 5], ARGV[a + 6]
  local record = ARGUMENTS[outcome] == 8 and ARGV[a + 7]
  if revoked and outcome ~= 'complete' then
    outcome, record = 'done', nil
  elseif CANCELLED[outcome] and cancelled(task, score) == 'stop' then
    record = outcome == 'retry' and record
    outcome, at = CANCELLED[outcome], string.sub(ARGV[2], 1, -10)
  end
  local entered = enter(outcome, id, at)
  if type(entered) == 'table' and entered.err then return entered.err end
  ended[id] = true
  ended[#ended + 1] = id
  settle(task, id, outcome, ARGV[a + 3], message)
  if record then remember(task, outcome, record, at) end
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
  a = a + ARGUMENTS[outcome]
end
if #ended > 0 then
  leave_together(KEYS[1], ended)
  redis.call('ZREM', KEYS[2], unpack(ended))
end
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
count(KEYS[7], KEYS[9], processed)
count(KEYS[8], KEYS[10], failed)
return verdicts
