-- take_sets: look at some groups and take away what is ripe in them, to be aggregated.
-- KEYS[1] set groups   KEYS[2] zset aggregation_sets
-- ARGV[1] string group-key prefix   ARGV[2] string cursor, 0 to begin
-- ARGV[3] string last part of the sets' keys, never used before   ARGV[4] int groups looked at, about
-- ARGV[5] int sets at most   ARGV[6] int tasks of a set at most, which make a group ripe
-- ARGV[7] int longest delay, s, or 0   ARGV[8] int grace period, s   ARGV[9] int life of a set, s
-- Returns: array: cursor to go on from (0 after the last group), when the first group not taken is ripe (Unix s
--   or ''), then per set: group, key of the set
-- Fails before anything is renamed, should that be another sort of key.
redis.call('ZCARD', KEYS[2])
local now = tonumber(redis.call('TIME')[1])
local most = tonumber(ARGV[6])
local limits = {now = now, most = most, delay = tonumber(ARGV[7]), grace = tonumber(ARGV[8])}
local page = redis.call('SSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[4])
local reply, leases, emptied, first = {page[1], ''}, {}, {}, nil
local deadline = string.format('%d', now + tonumber(ARGV[9]))

local function take(name, group, count)
  local set = group .. ':' .. ARGV[3]
  if count <= most then
    redis.call('RENAME', group, set)
    emptied[#emptied + 1] = name
  else
    redis.call('ZRANGESTORE', set, group, 0, most - 1)
    redis.call('ZREMRANGEBYRANK', group, 0, most - 1)
  end
  local n = #leases
  leases[n + 1], leases[n + 2] = deadline, set
  n = #reply
  reply[n + 1], reply[n + 2] = name, set
end

for _, name in ipairs(page[2]) do
  if #leases >= 2 * ARGV[5] then
    -- What is left of this page is looked at again.
    reply[1], first = ARGV[2], now
    break
  end
  local group = ARGV[1] .. name
  local count = redis.pcall('ZCARD', group)
  -- What is no group holds up no other.
  local is_group = type(count) == 'number'
  local at = is_group and count > 0 and ripe_at(group, count, limits)
  if not is_group then
    at = nil
  elseif count == 0 then
    emptied[#emptied + 1] = name
  elseif at <= now then
    take(name, group, count)
  else
    first = math.min(first or at, at)
  end
end
if #emptied > 0 then redis.call('SREM', KEYS[1], unpack(emptied)) end
if #leases > 0 then redis.call('ZADD', KEYS[2], unpack(leases)) end
if first then reply[2] = string.format('%d', first) end
return reply
