-- count: note that attempts have ended, in the queue's lifetime total and in today's.
local function count(total, today, by, end_of_today)
  if by == 0 then return end
  by = string.format('%d', by)
  if redis.call('INCRBY', today, by) == tonumber(by) then redis.call('EXPIREAT', today, end_of_today) end
  -- The lifetime total starts again where 64 bits end.
  local counted = redis.pcall('INCRBY', total, by)
  if type(counted) == 'table' and counted.err then redis.call('SET', total, by) end
end
