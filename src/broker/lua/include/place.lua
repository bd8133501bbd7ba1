-- place: take a task that is not running out of whatever holds it. Needs leave.lua and group.lua in front of it.

-- `at` has the keys `pending`, `groups` and those of the zsets by the names of their states, and the prefix `group`.
-- A task that is aggregating must be in its group. Taking one out of the middle of a very long pending list is the one
-- step here that is not O(log n).
local function leave_place(at, state, group, id)
  if at[state] and state ~= 'pending' then
    redis.call('ZREM', at[state], id)
  elseif state == 'aggregating' then
    leave_group(at.group, group, id, at.groups)
  else
    leave_list(at.pending, id)
  end
end
