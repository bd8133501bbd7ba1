-- revoke: take back a task that has not ended. What waits in a zset or in its group goes at once; what is pending or
-- active is marked, and the mark is honoured by claim, extend and finish. Needs leave.lua and group.lua in front of it.
-- `at` has the keys `retry`, `scheduled`, `groups`, `locks` and `holders`, and the prefix `group`.
-- Returns whether it may still be running. One that is being aggregated may: it is left to its aggregator.
local function revoke(task, id, state, at)
  local field = redis.call('HMGET', task, 'unique_key', 'group')
  local waits = state == 'retry' or state == 'scheduled'
  if state == 'aggregating' then
    if not in_group(at.group, field[2], id) then return true end
    leave_group(at.group, field[2], id, at.groups)
  elseif waits then
    redis.call('ZREM', at[state], id)
  end
  if waits or state == 'aggregating' then
    unlock(field[1], id, at.locks)
    redis.call('UNLINK', task)
    return false
  end
  redis.call('HSET', task, 'cronmill_revoked', '1')
  local held = redis.call('HGET', at.holders, id)
  if held and string.sub(held, -8) ~= ' revoked' then redis.call('HSET', at.holders, id, held .. ' revoked') end
  return state == 'active'
end

-- Takes back all of these. Returns what may still run, and what of it nobody can take back now.
local function take_back(ids, states, at)
  local running, left = {}, {}
  for _, id in ipairs(ids) do
    if revoke(at.task .. id, id, states[id], at) then
      running[#running + 1] = id
      if states[id] == 'aggregating' then left[#left + 1] = id end
    end
  end
  return running, left
end

-- Lets those that wait for a retry run now. `at` has the key `pending` too, and `now_ns`.
local function pull_from_retry(ids, states, at)
  for _, id in ipairs(ids) do
    if states[id] == 'retry' then
      redis.call('ZREM', at.retry, id)
      redis.call('LPUSH', at.pending, id)
      redis.call('HSET', at.task .. id, 'state', 'pending', 'pending_since', at.now_ns)
    end
  end
end
