-- ripe: when a group is ripe, as it stands.

-- `limits` holds now, most, grace and delay (0: none). Returns Unix s, `now` or earlier where it is ripe already.
local function ripe_at(group, count, limits)
  local joined_lately = '(' .. string.format('%d', limits.now - limits.grace)
  if count >= limits.most or redis.call('ZCOUNT', group, joined_lately, '+inf') == 0 then return limits.now end
  local newest = redis.call('ZRANGE', group, -1, -1, 'WITHSCORES')
  local at = tonumber(newest[2]) + limits.grace
  if limits.delay == 0 or at <= limits.now then return at end
  local oldest = redis.call('ZRANGE', group, 0, 0, 'WITHSCORES')
  return math.min(at, tonumber(oldest[2]) + limits.delay)
end
