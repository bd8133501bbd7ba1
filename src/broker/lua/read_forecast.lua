-- read_forecast: how many ticks that will run are due soon, and when the first one is. Nothing is changed.
-- KEYS[1] zset due
-- ARGV[1] string entry-key prefix   ARGV[2] int ms from now to look ahead   ARGV[3] int entries looked at, at most
-- Returns: array: ticks within that time, due time of the first tick (Unix ms) or ''
-- Suspended schedules are due as well, to be accounted for, but make no work.
local clock = redis.call('TIME')
local horizon = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) + tonumber(ARGV[2])
local found = redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[3]) - 1, 'WITHSCORES')
local soon, first = 0, ''
for i = 1, #found, 2 do
  local due = tonumber(found[i + 1])
  if due == math.huge or (due > horizon and first ~= '') then break end
  if not redis.call('HGET', ARGV[1] .. found[i], 'suspended') then
    if first == '' then first = found[i + 1] end
    if due <= horizon then soon = soon + 1 end
  end
end
return {soon, first}
