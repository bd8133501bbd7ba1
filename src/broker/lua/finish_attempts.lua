-- finish_attempts: end attempts: done, complete, retry, archive, requeue (front), crash (back of the queue),
--   snooze (later, no failure) or withdraw (archived, no failure: cancelled or expired).
-- KEYS[1] list active   KEYS[2] zset lease   KEYS[3] list pending   KEYS[4] zset retry   KEYS[5] zset archived
-- KEYS[6] zset completed   KEYS[7] int processed   KEYS[8] int failed   KEYS[9] int processed today   KEYS[10] int failed today
-- KEYS[11] zset locks   KEYS[12] zset scheduled   KEYS[13] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix ns   ARGV[3] int end of today's counters, Unix s
-- ARGV[4] string owner, or '' for whoever finds the leases run out
-- ARGV[5..] per attempt: string id, int lease end it is said to have, string outcome, string unique key or '',
--   unless it is done: bytes message (of requeue, crash and snooze: as it stands if it was cancelled; of crash: only
--   what changes of it); unless it is done, requeue or crash: int score, int 1 when it counts as a failure, 2 when the
--   message is only what changes of it, 3 for both; and of crash, retry, archive, withdraw and snooze: string record
--   of the error, or reason of the snooze, '' for none
-- Returns: stored when every attempt was; else an array, per attempt 1 (stored), 0 (no longer theirs, nothing changed)
--   or an error text (nothing changed)
local call, prefix, owner, lease = redis.call, ARGV[1], ARGV[4], KEYS[2]
local KEEPS_MESSAGE = {complete = 'completed', retry = 'retry', archive = 'archived', withdraw = 'archived'}
local ARGUMENTS = {done = 4, requeue = 5, crash = 6, complete = 7, retry = 8, archive = 8, withdraw = 8, snooze = 8}
-- What a cancel turns other ends into: a failure of its own is an attempt's last, the rest is withdrawn.
local CANCELLED = {retry = 'archive', requeue = 'withdraw', crash = 'withdraw', snooze = 'withdraw'}
local processed, failed, stored = 0, 0, 0
local ended, is_ended, gone = {}, {}, {}

-- The one write that can fail goes first, so a failure leaves the attempt as it was.
local function enter(outcome, id, score)
  if outcome == 'requeue' then return redis.pcall('RPUSH', KEYS[3], id) end
  if outcome == 'crash' then return redis.pcall('LPUSH', KEYS[3], id) end
  local zset = {retry = KEYS[4], archive = KEYS[5], withdraw = KEYS[5], complete = KEYS[6], snooze = KEYS[12]}
  return redis.pcall('ZADD', zset[outcome], score, id)
end

-- In protobuf, what stands last of a field is what counts: so a few bytes behind a long message change it.
local function settle(task, id, outcome, unique, message, is_change)
  if KEEPS_MESSAGE[outcome] then
    if is_change then message = (call('HGET', task, 'msg') or '') .. message end
    call('HSET', task, 'state', KEEPS_MESSAGE[outcome], 'msg', message)
    call('HDEL', task, 'cronmill_crashes', 'cronmill_cancel', 'pending_since')
    -- A task that was given up is not going to run, so it keeps no other from running.
    if outcome == 'archive' and unique == '' then unique = call('HGET', task, 'unique_key') end
    if outcome ~= 'retry' then unlock(unique, id, KEYS[11]) end
  elseif outcome == 'snooze' then
    call('HSET', task, 'state', 'scheduled')
    call('HDEL', task, 'cronmill_crashes', 'cronmill_cancel', 'pending_since')
  else
    call('HSET', task, 'state', 'pending', 'pending_since', ARGV[2])
    call('HDEL', task, 'cronmill_cancel')
    if outcome == 'crash' then redis.pcall('HINCRBY', task, 'cronmill_crashes', '1') end
  end
end

-- The last ten errors stand in a ring: what is kept is bounded, and writing one costs the same whatever there is.
-- Whatever somebody else wrote into these fields, the attempt ends.
local function remember(task, outcome, record, score)
  if outcome == 'snooze' then
    redis.pcall('HINCRBY', task, 'cronmill_snoozes', '1')
    call('HSET', task, 'cronmill_snoozed', score .. '|' .. record)
  elseif record ~= '' then
    local n = redis.pcall('HINCRBY', task, 'cronmill_errors', '1')
    if type(n) == 'number' then
      call('HSET', task, 'cronmill_error:' .. n % 10, '1|' .. n .. '|' .. record)
    end
  end
end

local function finish(a, outcome, held)
  local id, said = ARGV[a], ARGV[a + 1]
  local task, score = prefix .. id, score_of(lease, id, said)
  local is_theirs, revoked = owned(held, score, owner)
  if owner == '' then is_theirs = score == said end
  if not is_theirs or is_ended[id] then return 0 end
  local at, record = ARGV[a + 5], ARGUMENTS[outcome] == 8 and ARGV[a + 7] or outcome == 'crash' and ARGV[a + 5]
  local flags = ARGUMENTS[outcome] >= 7 and tonumber(ARGV[a + 6]) or 0
  local counts, is_change = flags % 2 == 1, flags >= 2 or outcome == 'crash'
  if revoked and outcome ~= 'complete' then
    outcome, record = 'done', nil
  elseif CANCELLED[outcome] and cancelled(task, score) == 'stop' then
    record = outcome == 'retry' and record
    outcome, at = CANCELLED[outcome], string.sub(ARGV[2], 1, -10)
  end
  if outcome == 'done' then
    unlock(ARGV[a + 3], id, KEYS[11])
    gone[#gone + 1] = task
  else
    local entered = enter(outcome, id, at)
    if type(entered) == 'table' and entered.err then return entered.err end
    settle(task, id, outcome, ARGV[a + 3], ARGV[a + 4], is_change)
    if record then remember(task, outcome, record, at) end
  end
  stored = stored + 1
  is_ended[id], ended[stored] = true, id
  local has_failed = counts and (outcome == 'retry' or outcome == 'archive')
  if has_failed then failed = failed + 1 end
  if has_failed or outcome == 'done' or outcome == 'complete' then processed = processed + 1 end
  return 1
end

local ids, places, a, last = {}, {}, 5, #ARGV
while a <= last do
  ids[#ids + 1], places[#places + 1] = ARGV[a], a
  a = a + ARGUMENTS[ARGV[a + 2]]
end
local held, verdicts = call('HMGET', KEYS[13], unpack(ids)), {}
for n, place in ipairs(places) do verdicts[n] = finish(place, ARGV[place + 2], held[n]) end
if stored > 0 then
  leave_together(KEYS[1], ended, is_ended)
  call('ZREM', lease, unpack(ended))
  call('HDEL', KEYS[13], unpack(ended))
end
if gone[1] then call('UNLINK', unpack(gone)) end
count(KEYS[7], KEYS[9], processed, ARGV[3])
count(KEYS[8], KEYS[10], failed, ARGV[3])
return stored == #ids and 'stored' or verdicts
