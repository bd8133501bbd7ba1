-- read_demand: what a queue asks of its workers at this moment and within a time. Nothing is changed.
-- KEYS[1] list pending   KEYS[2] list active   KEYS[3] zset lease   KEYS[4] zset scheduled   KEYS[5] zset retry
-- KEYS[6] set groups   KEYS[7] zset aggregation_sets   KEYS[8] string paused   KEYS[9] hash pause note
-- KEYS[10] string processed   KEYS[11] zset due   KEYS[12] hash limits of its groups
-- ARGV[1] string entry-key prefix   ARGV[2] string task-key prefix   ARGV[3] int ms from now to look ahead
-- ARGV[4] int entries looked at, at most
-- Returns: array: now (Unix ms), 1 when it is paused for longer than that time, tasks pending, active, with leases that
--   are over, scheduled and retried within that time, aggregation sets, groups, ticks that wait, ticks due within that
--   time, due time of the first tick (Unix ms) or '', attempts ended ever, and of its groups: format or '', grace
--   period, longest delay (s or 0), size
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local horizon = now + tonumber(ARGV[3])

-- Whether a task of an entry that forbids another beside it is there already and needs no worker more.
local function is_running(packed)
  local is_read, named = pcall(cmsgpack.unpack, packed or '')
  local id = is_read and type(named) == 'table' and named[#named]
  local state = type(id) == 'string' and redis.pcall('HGET', ARGV[2] .. id, 'state')
  return state == 'pending' or state == 'active' or state == 'scheduled' or state == 'aggregating'
end

-- Suspended schedules are due as well, to be accounted for, but make no work; nor do those that cannot fire.
local function forecast()
  local found = redis.call('ZRANGE', KEYS[11], 0, tonumber(ARGV[4]) - 1, 'WITHSCORES')
  local waiting, soon, first = 0, 0, ''
  for i = 1, #found, 2 do
    local due = tonumber(found[i + 1])
    if due == math.huge or (due > horizon and first ~= '') then break end
    local field = redis.call('HMGET', ARGV[1] .. found[i], 'suspended', 'fault', 'waiting', 'policy', 'living')
    if field[3] then
      waiting = waiting + 1
    elseif not field[1] and not field[2] then
      if first == '' then first = found[i + 1] end
      if due <= horizon and not (field[4] == 'forbid' and is_running(field[5])) then soon = soon + 1 end
    end
  end
  return waiting, soon, first
end

local function is_paused()
  local since = redis.call('GET', KEYS[8])
  if not since then return 0 end
  local note = redis.call('HMGET', KEYS[9], 'since', 'until')
  local ends = tonumber(note[2] or nil)
  return note[1] == since and ends and ends * 1000 <= horizon and 0 or 1
end

local soon_s = string.format('%d', math.floor(horizon / 1000))
local waiting, soon, first = forecast()
local limits = redis.call('HMGET', KEYS[12], 'format', 'grace', 'delay', 'size')
return {
  string.format('%d', now), is_paused(), redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2]),
  redis.call('ZCOUNT', KEYS[3], '-inf', clock[1]), redis.call('ZCOUNT', KEYS[4], '-inf', soon_s),
  redis.call('ZCOUNT', KEYS[5], '-inf', soon_s), redis.call('ZCARD', KEYS[7]), redis.call('SCARD', KEYS[6]),
  waiting, soon, first, redis.call('GET', KEYS[10]) or 0, limits[1] or '', limits[2] or '', limits[3] or '', limits[4] or ''
}
