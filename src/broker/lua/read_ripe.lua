-- read_ripe: how many of some groups are ripe, or will be within a time. Nothing is changed.
-- KEYS[1] set groups
-- ARGV[1] string group-key prefix   ARGV[2] string cursor, 0 to begin   ARGV[3] int groups looked at, about
-- ARGV[4] int ms from now to look ahead   ARGV[5] int tasks of a set at most, which make a group ripe
-- ARGV[6] int longest delay, s, or 0   ARGV[7] int grace period, s
-- Returns: array: cursor to go on from (0 after the last group), groups that are ripe by then, when the first of the
--   others is (Unix s or '')
local limits = {
  now = tonumber(redis.call('TIME')[1]), most = tonumber(ARGV[5]), delay = tonumber(ARGV[6]), grace = tonumber(ARGV[7])
}
local horizon = limits.now + math.ceil(ARGV[4] / 1000)
local page = redis.call('SSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local ripe, first = 0, nil
for _, name in ipairs(page[2]) do
  local count = redis.pcall('ZCARD', ARGV[1] .. name)
  -- What is no group holds up no other.
  if type(count) == 'number' and count > 0 then
    local at = ripe_at(ARGV[1] .. name, count, limits)
    if at <= horizon then ripe = ripe + 1 else first = math.min(first or at, at) end
  end
end
return {page[1], ripe, first and string.format('%d', first) or ''}
