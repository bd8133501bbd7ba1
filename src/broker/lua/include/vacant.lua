-- vacant: what still keeps a queue from being deleted.
-- Takes the keys of active, aggregation sets, due, and of all that holds waiting tasks.
local function obstacle(active, sets, due, lists, zsets, groups)
  if redis.call('LLEN', active) > 0 or redis.call('ZCARD', sets) > 0 then return 'active' end
  if redis.call('ZCARD', due) > 0 then return 'schedules' end
  for _, list in ipairs(lists) do
    if redis.call('LLEN', list) > 0 then return 'tasks' end
  end
  for _, zset in ipairs(zsets) do
    if redis.call('ZCARD', zset) > 0 then return 'tasks' end
  end
  return redis.call('SCARD', groups) > 0 and 'tasks' or ''
end
