-- reclaim_sets: give the tasks of aggregation sets that nobody finished in time back to their groups.
-- KEYS[1] zset aggregation_sets   KEYS[2] set groups
-- ARGV[1] string group-key prefix   ARGV[2] string what the last part of our sets' keys begins with
-- ARGV[3] int grace for sets of other programs, s   ARGV[4] int tasks at most
-- Returns: array: sets given back, 1 when more is left
-- Another program's deadline is its own clock's, so it gets a grace. Ours is Redis's time.
local now, left = tonumber(redis.call('TIME')[1]), tonumber(ARGV[4])
local prefix, mark = ARGV[1], ARGV[2]
local found = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
local moved, more = 0, false

-- Moves a set, or the first part of it. Returns whether nothing of it is left.
local function give_back(set, group)
  if redis.call('EXISTS', group) == 0 then
    redis.call('RENAME', set, group)
    left = left - 1
    return true
  end
  local part = redis.call('ZRANGE', set, 0, left - 1, 'WITHSCORES')
  local scored = {}
  for i = 1, #part, 2 do scored[i], scored[i + 1] = part[i + 1], part[i] end
  redis.call('ZADD', group, unpack(scored))
  redis.call('ZREMRANGEBYRANK', set, 0, left - 1)
  left = left - #part / 2
  return redis.call('EXISTS', set) == 0
end

for i = 1, #found, 2 do
  local set, score = found[i], tonumber(found[i + 1])
  local group, part = string.match(set, '^(.*):([^:]*)$')
  local is_ours = part and string.sub(part, 1, #mark) == mark
  if is_ours or score <= now - tonumber(ARGV[3]) then
    if left <= 0 then
      more = true
      break
    end
    local is_whole = true
    if group and redis.call('EXISTS', set) == 1 then
      is_whole = give_back(set, group)
      redis.call('SADD', KEYS[2], string.sub(group, #prefix + 1))
    end
    if is_whole then
      redis.call('ZREM', KEYS[1], set)
      moved = moved + 1
    else
      more = true
    end
  end
end
return {moved, more and 1 or 0}
