-- read_due: the entries that are due by a moment, earliest first. Nothing is changed.
-- KEYS[1] zset due
-- ARGV[1] string entry-key prefix   ARGV[2] int ms from now to look ahead   ARGV[3] int entries to pass over
-- ARGV[4] int entries at most
-- Returns: array: now (Unix ms), due time of the first entry not returned or '',
--   then per entry: uid, due (Unix ms), revision or '', next tick (Unix s), waiting tick or ''
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local first, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local ahead = now + tonumber(ARGV[2])
local found = redis.call('ZRANGE', KEYS[1], '-inf', ahead, 'BYSCORE', 'LIMIT', first, most, 'WITHSCORES')
local later = redis.call('ZRANGE', KEYS[1], first + #found / 2, first + #found / 2, 'WITHSCORES')
local reply = {string.format('%d', now), later[2] or ''}
for i = 1, #found, 2 do
  local field = redis.call('HMGET', ARGV[1] .. found[i], 'rev', 'next', 'waiting')
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = found[i], found[i + 1], field[1] or ''
  reply[n + 4], reply[n + 5] = field[2] or '', field[3] or ''
end
return reply
