-- finish_attempts: end attempts: done, complete, retry, archive, requeue (front), crash (back of the queue),
--   snooze (later, no failure) or withdraw (archived, no failure: cancelled or expired).
-- KEYS[1] list active   KEYS[2] zset lease   KEYS[3] list pending   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] int processed   KEYS[8] int failed   KEYS[9] int processed today   KEYS[10] int failed today
-- KEYS[11] zset scheduled
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix ns   ARGV[3] int end of today's counters, Unix s
-- ARGV[4] int attempts   ARGV[5..] per attempt: string id, string owner or '' , int lease end it must have when no owner is given,
--   string outcome, bytes message (of requeue, crash and snooze: if it was cancelled), int score,
--   1 when it counts as a failure, string unique key or ''; then per note: int number of its attempt,
--   int errors kept, string record of the error, or the reason of a snooze
-- Returns: array, per attempt 1 (stored), 0 (no longer theirs, nothing changed) or an error text (nothing changed)
local processed, failed = 0, 0
local active_is_short = redis.call('LLEN', KEYS[1]) <= 64
local ids, ended, gone = {}, {}, {}
for n = 1, tonumber(ARGV[4]) do ids[n] = ARGV[n * 8 - 3] end
local scores = redis.call('ZMSCORE', KEYS[2], unpack(ids))

-- The one write that can fail goes first, so a failure leaves the attempt as it was.
local function enter(outcome, id, score)
  if outcome == 'retry' then return redis.pcall('ZADD', KEYS[4], score, id) end
  if outcome == 'archive' or outcome == 'withdraw' then return redis.pcall('ZADD', KEYS[5], score, id) end
  if outcome == 'complete' then return redis.pcall('ZADD', KEYS[6], score, id) end
  if outcome == 'requeue' then return redis.pcall('RPUSH', KEYS[3], id) end
  if outcome == 'crash' then return redis.pcall('LPUSH', KEYS[3], id) end
  if outcome == 'snooze' then return redis.pcall('ZADD', KEYS[11], score, id) end
  return 1
end

local STATES = {retry = 'retry', archive = 'archived', complete = 'completed', withdraw = 'archived'}
-- What a cancel turns the other ends of an attempt into: a failure of its own is its last, the rest is withdrawn.
local CANCELLED = {retry = 'archive', requeue = 'withdraw', crash = 'withdraw', snooze = 'withdraw'}

local notes = {}
for i = 5 + 8 * ARGV[4], #ARGV, 3 do notes[tonumber(ARGV[i])] = i end

local function settle(task, id, outcome, message, unique)
  if outcome == 'done' then
    gone[#gone + 1] = task
    return unlock(unique, id)
  end
  if outcome == 'requeue' or outcome == 'crash' then
    redis.call('HSET', task, 'state', 'pending', 'pending_since', ARGV[2])
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease', 'cronmill_cancel')
    if outcome == 'crash' then redis.call('HINCRBY', task, 'cronmill_crashes', 1) end
  else
    if outcome == 'snooze' then
      redis.call('HSET', task, 'state', 'scheduled')
    else
      redis.call('HSET', task, 'state', STATES[outcome], 'msg', message)
    end
    redis.call('HDEL', task, 'cronmill_owner', 'cronmill_lease', 'cronmill_crashes', 'cronmill_cancel')
    if outcome == 'complete' or outcome == 'withdraw' then unlock(unique, id) end
  end
end

-- The last errors stand in a ring, so what is kept is bounded and writing one costs the same whatever there is.
local function remember(task, note, asked, outcome, score)
  if outcome == 'snooze' then
    redis.pcall('HINCRBY', task, 'cronmill_snoozes', 1)
    redis.call('HSET', task, 'cronmill_snoozed', score .. '|' .. ARGV[note + 2])
  elseif asked ~= 'snooze' and outcome ~= 'done' then
    -- Whatever somebody wrote there, the attempt ends.
    local n = redis.pcall('HINCRBY', task, 'cronmill_errors', 1)
    if type(n) ~= 'number' then return end
    redis.call('HSET', task, 'cronmill_error:' .. n % ARGV[note + 1], '1|' .. n .. '|' .. ARGV[note + 2])
  end
end

local function finish(n, score)
  local i = n * 8 - 3
  local id, outcome, due = ARGV[i], ARGV[i + 3], ARGV[i + 5]
  local task = ARGV[1] .. id
  local is_theirs, revoked = owned(task, score, ARGV[i + 1])
  if ARGV[i + 1] == '' then is_theirs = score == ARGV[i + 2] end
  if not is_theirs or ended[id] then return 0 end
  if revoked and outcome ~= 'complete' then
    outcome = 'done'
  elseif CANCELLED[outcome] and cancelled(task, score) == 'stop' then
    outcome, due = CANCELLED[outcome], string.sub(ARGV[2], 1, -10)
  end
  local entered = enter(outcome, id, due)
  if type(entered) == 'table' and entered.err then return entered.err end
  if active_is_short then redis.call('LREM', KEYS[1], 1, id) else leave_list(KEYS[1], id) end
  ended[id] = true
  ended[#ended + 1] = id
  settle(task, id, outcome, ARGV[i + 4], ARGV[i + 7])
  if notes[n] then remember(task, notes[n], ARGV[i + 3], outcome, due) end
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
for n = 1, #ids do verdicts[n] = finish(n, scores[n]) end
if #ended > 0 then redis.call('ZREM', KEYS[2], unpack(ended)) end
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
count(KEYS[7], KEYS[9], processed)
count(KEYS[8], KEYS[10], failed)
return verdicts
