-- fire_entries: account for due ticks: enqueue what shall run, record every tick, move each entry to its next.
-- KEYS[1] zset due   KEYS[2] list pending   KEYS[3] zset retry   KEYS[4] zset scheduled   KEYS[5] zset locks
-- KEYS[6] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] string entry-key prefix   ARGV[3] string ticks-key prefix
-- ARGV[4] int longest wait for a replaced task, ms
-- ARGV[5..] per entry: string uid, string revision and int next tick it must have, int new next or '',
--   int when that is due (ms) or +inf, int tick to run or '', int when it is due (ms), string task id,
--   bytes message, string outcome when it runs, int n, then n records from|to|count|outcome of passed ticks
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

-- Decides what becomes of the tick: returns the verdict, the ids to cancel, and the living ids.
local function judge(entry, field, tick)
  if field[3] == 'allow' then return 'fired', {}, {} end
  local ids, states = living(ARGV[1], field[4])
  if #ids == 0 then return 'fired', {}, ids end
  if field[3] == 'forbid' then
    for _, id in ipairs(ids) do
      if states[id] == 'retry' then pull_from_retry(id) end
    end
    return 'skipped', {}, ids
  end
  local since = field[5] == tick and tonumber(field[6]) or now
  local running = {}
  for _, id in ipairs(ids) do
    if revoke(ARGV[1] .. id, id, states[id], KEYS[3], KEYS[4], KEYS[5], KEYS[6]) then running[#running + 1] = id end
  end
  if #running == 0 or now - since >= tonumber(ARGV[4]) then return 'fired', running, {} end
  return 'waiting', running, ids
end

local function enqueue(id, message)
  local task = ARGV[1] .. id
  if redis.call('EXISTS', task) == 1 then return false end
  redis.call('HSET', task, 'msg', message, 'state', 'pending', 'pending_since', now_ns)
  redis.call('LPUSH', KEYS[2], id)
  return true
end

local function run(a, entry, ticks, field)
  local uid, tick, id = ARGV[a], ARGV[a + 5], ARGV[a + 7]
  local verdict, cancel, ids = judge(entry, field, tick)
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
  local outcome = 'skipped-overlap'
  if verdict == 'fired' then
    outcome = ARGV[a + 9]
    if not enqueue(id, ARGV[a + 8]) then verdict, outcome = 'deduplicated', 'deduplicated' end
    redis.call('HSET', entry, 'last', tick, 'living', packed_with(ids, id))
  end
  record(ticks, tick, tick, '1', outcome, now_ms, verdict == 'fired' and id or '', '')
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
  for i = a + 11, a + 10 + ARGV[a + 10] do
    local to = tonumber(string.match(ARGV[i], '^[^|]*|([^|]*)|'))
    if to * 1000 > now then return {'early', to * 1000 - now} end
  end
  redis.call('HSET', entry, 'next', ARGV[a + 3])
  redis.call('ZADD', KEYS[1], ARGV[a + 4], uid)
  for i = a + 11, a + 10 + ARGV[a + 10] do
    local from, to, count, outcome = string.match(ARGV[i], '^([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
    record(ticks, from, to, count, outcome, now_ms, '', '')
    redis.call('HINCRBY', entry, 'n:' .. outcome, count)
  end
  if tick == '' then return {'passed'} end
  local verdict, cancel = run(a, entry, ticks, stored)
  return {verdict, ARGV[a + 7], now - tonumber(ARGV[a + 6]), unpack(cancel)}
end

local verdicts, a = {}, 5
while a <= #ARGV do
  verdicts[#verdicts + 1] = fire(a)
  a = a + 11 + ARGV[a + 10]
end
return verdicts
