-- group: whether a task waits in its group, and taking it out; the group's name goes with its last member.
-- One that has left its group but not the state is being aggregated at the moment.
local function in_group(prefix, group, id)
  return group and redis.call('ZSCORE', prefix .. group, id)
end

local function leave_group(prefix, group, id, groups)
  redis.call('ZREM', prefix .. group, id)
  if redis.call('EXISTS', prefix .. group) == 0 then redis.call('SREM', groups, group) end
end
