-- fire_entries: account for due ticks: enqueue what shall run, record every tick, move each entry to its next.
-- KEYS[1] zset due   KEYS[2] list pending   KEYS[3] zset retry   KEYS[4] zset scheduled   KEYS[5] zset locks
-- KEYS[6] set groups   KEYS[7] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] string entry-key prefix   ARGV[3] string ticks-key prefix
-- ARGV[4] int longest wait for a replaced task, ms   ARGV[5] string group-key prefix
-- ARGV[6..] per entry: string uid, string revision and int next tick it must have, int new next or '',
--   int when that is due (ms) or +inf, int tick to run or '', int when it is due (ms), string task id,
--   bytes message, string group or '', string key of its unique lock or '', int life of the lock, s,
--   string outcome when it runs, int n, then n records from|to|count|outcome of passed ticks
-- Returns: array, per entry an array: verdict, then
--   fired: task id, lateness (ms), ids to cancel ..; skipped, waiting, deduplicated: task id, lateness, ids to cancel ..;
--   passed: nothing ran; stale: stored revision, stored next; early: ms too early; gone
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local now_ms = string.format('%d', now)
local now_ns = clock[1] .. string.format('%06d', clock[2]) .. '000'

local function pull_from_retry(id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('LPUSH', KEYS[2], id)
  redis.call('HSET', ARGV[1] .. id, 'state', 'pending', 'pending_since', now_ns)
end

local at = {
  retry = KEYS[3], scheduled = KEYS[4], locks = KEYS[5], groups = KEYS[6], holders = KEYS[7],
  task = ARGV[1], group = ARGV[5], now_ns = now_ns
}

-- Decides what becomes of the tick: returns the verdict, the ids to cancel, the living ids, and of a tick that is
-- deduplicated who holds its lock.
local function judge(a, field)
  if field[3] == 'allow' then return 'fired', {}, {} end
  local ids, states = living(ARGV[1], field[4])
  if #ids == 0 then return 'fired', {}, ids end
  if field[3] == 'forbid' then
    for _, id in ipairs(ids) do
      if states[id] == 'retry' then pull_from_retry(id) end
    end
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
  local stored, is_pending = store(at, id, ARGV[a + 8], '0', ARGV[a + 9], ARGV[a + 10], ARGV[a + 11])
  if is_pending then redis.call('LPUSH', KEYS[2], id) end
  return stored == 1, stored ~= 0 and stored ~= 1 and stored or nil
end

local function run(a, entry, ticks, field)
  local uid, tick, id = ARGV[a], ARGV[a + 5], ARGV[a + 7]
  local verdict, cancel, ids, holder = judge(a, field)
  if field[5] and field[5] ~= tick then
    record(ticks, field[5], field[5], '1', 'replaced', now_ms, '', '')
    redis.call('HINCRBY', entry, 'n:replaced', 1)
  end
  if verdict == 'waiting' then
    local since = field[5] == tick and field[6] or now_ms
    redis.call('HSET', entry, 'waiting', tick, 'waiting_since', since)
    redis.call('ZADD', KEYS[1], 'LT', now + 250, uid)
    return verdict, cancel
  end
  redis.call('HDEL', entry, 'waiting', 'waiting_since')
  local outcome = verdict == 'skipped' and 'skipped-overlap' or verdict
  if verdict == 'fired' then
    local is_stored
    is_stored, holder = enqueue(a)
    outcome = ARGV[a + 12]
    if not is_stored then verdict, outcome = 'deduplicated', 'deduplicated' end
    if not holder then redis.call('HSET', entry, 'last', tick, 'living', packed_with(ids, id)) end
  end
  local reason = holder and escaped('task ' .. holder .. ' holds its lock') or ''
  record(ticks, tick, tick, '1', outcome, now_ms, verdict == 'fired' and id or '', reason)
  redis.call('HINCRBY', entry, 'n:' .. outcome, 1)
  return verdict, cancel
end

local function fire(a)
  local uid, tick = ARGV[a], ARGV[a + 5]
  local entry, ticks = ARGV[2] .. uid, ARGV[3] .. uid
  local stored = redis.call('HMGET', entry, 'rev', 'next', 'policy', 'living', 'waiting', 'waiting_since', 'retired')
  if not stored[1] or stored[7] then return {'gone'} end
  if stored[1] ~= ARGV[a + 1] or stored[2] ~= ARGV[a + 2] then return {'stale', stored[1], stored[2]} end
  if tick ~= '' and tonumber(ARGV[a + 6]) > now then return {'early', tonumber(ARGV[a + 6]) - now} end
  for i = a + 14, a + 13 + ARGV[a + 13] do
    local to = tonumber(string.match(ARGV[i], '^[^|]*|([^|]*)|'))
    if to * 1000 > now then return {'early', to * 1000 - now} end
  end
  redis.call('HSET', entry, 'next', ARGV[a + 3])
  redis.call('ZADD', KEYS[1], ARGV[a + 4], uid)
  for i = a + 14, a + 13 + ARGV[a + 13] do
    local from, to, count, outcome = string.match(ARGV[i], '^([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
    record(ticks, from, to, count, outcome, now_ms, '', '')
    redis.call('HINCRBY', entry, 'n:' .. outcome, count)
  end
  if tick == '' then return {'passed'} end
  local verdict, cancel = run(a, entry, ticks, stored)
  return {verdict, ARGV[a + 7], now - tonumber(ARGV[a + 6]), unpack(cancel)}
end

local verdicts, a = {}, 6
while a <= #ARGV do
  verdicts[#verdicts + 1] = fire(a)
  a = a + 14 + ARGV[a + 13]
end
return verdicts
