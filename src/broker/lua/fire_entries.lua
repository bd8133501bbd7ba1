-- fire_entries: account for due ticks: enqueue what shall run, record every tick, move each entry to its next.
-- KEYS[1] zset due   KEYS[2] list pending   KEYS[3] zset retry   KEYS[4] zset scheduled   KEYS[5] zset locks
-- KEYS[6] set groups   KEYS[7] hash holders   KEYS[8] zset expiring
-- ARGV[1] string task-key prefix   ARGV[2] string entry-key prefix   ARGV[3] string ticks-key prefix
-- ARGV[4] int longest wait for a replaced task, ms   ARGV[5] string group-key prefix
-- ARGV[6] int when an entry that was set aside is looked at again, ms from now
-- ARGV[7..] per entry: string uid, string revision and int next tick it must have, int new next or '',
--   int when that is due (ms) or +inf, int tick to run or '', int when it is due (ms), string task id,
--   bytes message, string group or '', string key of its unique lock or '', int life of the lock, s,
--   int when the task is to have begun, Unix ms, or '', string outcome when it runs, int n, then n records from|to|count|outcome of passed ticks
-- Returns: array, per entry an array: verdict, then
--   fired: task id, lateness (ms), ids to cancel ..; skipped, waiting, deduplicated: task id, lateness, ids to cancel ..;
--   passed: nothing ran; stale: stored revision, stored next; early: ms too early; gone;
--   aside: why it cannot fire, 1 when that is new. Its tick stays as it is.
-- Every key that an entry needs is looked at before anything is written of it: an entry is fired and advanced, or
-- neither.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local now_ms = string.format('%d', now)
local at = {
  pending = KEYS[2], retry = KEYS[3], scheduled = KEYS[4], locks = KEYS[5], groups = KEYS[6], holders = KEYS[7],
  expiring = KEYS[8], task = ARGV[1], group = ARGV[5], now_ns = clock[1] .. string.format('%06d', clock[2]) .. '000'
}

-- Decides what becomes of the tick: returns the verdict, the ids to cancel, the living ids, and of a tick that is
-- deduplicated who holds its lock.
local function judge(a, field, ids, states)
  if #ids == 0 then return 'fired', {}, ids end
  if field[3] == 'forbid' then
    pull_from_retry(ids, states, at)
    return 'skipped', {}, ids
  end
  -- Nothing is taken back for a run that cannot take its place.
  local tick, unique = ARGV[a + 5], ARGV[a + 10]
  local holder = unique ~= '' and holder_of(unique, ARGV[1])
  if holder and not states[holder] then return 'deduplicated', {}, ids, holder end
  local since = field[5] == tick and tonumber(field[6]) or now
  local running, left = take_back(ids, states, at)
  if #running > 0 and now - since < tonumber(ARGV[4]) then return 'waiting', running, ids end
  -- The lock of what is taken back goes over to the new run.
  if holder then redis.call('DEL', unique) end
  return 'fired', running, left
end

-- Returns whether it did, and else who holds its lock: nobody when the id is taken.
local function enqueue(a)
  local id = ARGV[a + 7]
  local stored, is_pending = store(at, id, ARGV[a + 8], '0', ARGV[a + 9], ARGV[a + 10], ARGV[a + 11], ARGV[a + 12])
  if is_pending then redis.call('LPUSH', KEYS[2], id) end
  return stored == 1, stored ~= 0 and stored ~= 1 and stored or nil
end

local function run(a, entry, ticks, field, alive, states)
  local uid, tick, id = ARGV[a], ARGV[a + 5], ARGV[a + 7]
  local verdict, cancel, ids, holder = judge(a, field, alive, states)
  if field[5] and field[5] ~= tick then
    record(ticks, field[5], field[5], '1', 'replaced', now_ms, '', '')
    tally(entry, 'replaced', '1')
  end
  if verdict == 'waiting' then
    local since = field[5] == tick and field[6] or now_ms
    redis.call('HSET', entry, 'waiting', tick, 'waiting_since', since)
    redis.call('ZADD', KEYS[1], 'LT', now + 250, uid)
    return verdict, cancel
  end
  if field[5] then redis.call('HDEL', entry, 'waiting', 'waiting_since') end
  local outcome = verdict == 'skipped' and 'skipped-overlap' or verdict
  if verdict == 'fired' then
    local is_stored
    is_stored, holder = enqueue(a)
    outcome = ARGV[a + 13]
    if not is_stored then verdict, outcome = 'deduplicated', 'deduplicated' end
    if not holder then redis.call('HSET', entry, 'last', tick, 'living', packed_with(ids, id)) end
  end
  local reason = holder and escaped('task ' .. holder .. ' holds its lock') or ''
  record(ticks, tick, tick, '1', outcome, now_ms, verdict == 'fired' and id or '', reason)
  tally(entry, outcome, '1')
  return verdict, cancel
end

-- Returns nothing, or why an entry cannot fire.
local function obstacle(a, ticks, policy, ids, states)
  local needs = {ticks, 'list'}
  if ARGV[a + 5] ~= '' then
    add_new(needs, ARGV[a + 9], ARGV[a + 10], at)
    add_living(needs, policy == 'forbid', ids, states, at)
  end
  return unsound(needs)
end

local function fire(a)
  local uid, tick = ARGV[a], ARGV[a + 5]
  local entry, ticks = ARGV[2] .. uid, ARGV[3] .. uid
  local stored = redis.call('HMGET', entry, 'rev', 'next', 'policy', 'living', 'waiting', 'waiting_since', 'retired', 'fault')
  if not stored[1] or stored[7] then return {'gone'} end
  if stored[1] ~= ARGV[a + 1] or stored[2] ~= ARGV[a + 2] then return {'stale', stored[1], stored[2]} end
  if tick ~= '' and tonumber(ARGV[a + 6]) > now then return {'early', tonumber(ARGV[a + 6]) - now} end
  for i = a + 15, a + 14 + ARGV[a + 14] do
    local to = tonumber(string.match(ARGV[i], '^[^|]*|([^|]*)|'))
    if to * 1000 > now then return {'early', to * 1000 - now} end
  end
  local ids, states = {}, {}
  if tick ~= '' and stored[3] ~= 'allow' then ids, states = living(ARGV[1], stored[4]) end
  local why = obstacle(a, ticks, stored[3], ids, states)
  if why then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[6]), uid)
    redis.call('HSET', entry, 'fault', why)
    return {'aside', why, stored[8] == why and 0 or 1}
  end
  redis.call('ZADD', KEYS[1], ARGV[a + 4], uid)
  redis.call('HSET', entry, 'next', ARGV[a + 3])
  if stored[8] then redis.call('HDEL', entry, 'fault') end
  for i = a + 15, a + 14 + ARGV[a + 14] do
    local from, to, count, outcome = string.match(ARGV[i], '^([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
    record(ticks, from, to, count, outcome, now_ms, '', '')
    tally(entry, outcome, count)
  end
  if tick == '' then return {'passed'} end
  local verdict, cancel = run(a, entry, ticks, stored, ids, states)
  return {verdict, ARGV[a + 7], now - tonumber(ARGV[a + 6]), unpack(cancel)}
end

local verdicts, a = {}, 7
while a <= #ARGV do
  verdicts[#verdicts + 1] = fire(a)
  a = a + 15 + ARGV[a + 14]
end
return verdicts
