-- revoke: take back a task that has not ended. What waits in a zset goes at once; what is pending or active
-- is marked, and the mark is honoured by claim, extend and finish.
-- Returns whether it may still be running.
local function revoke(task, id, state, retry, scheduled, locks, holders)
  local zsets = {retry = retry, scheduled = scheduled}
  if zsets[state] then
    redis.call('ZREM', zsets[state], id)
    unlock(redis.call('HGET', task, 'unique_key'), id, locks)
    redis.call('UNLINK', task)
    return false
  end
  redis.call('HSET', task, 'cronmill_revoked', '1')
  local held = redis.call('HGET', holders, id)
  if held and string.sub(held, -8) ~= ' revoked' then redis.call('HSET', holders, id, held .. ' revoked') end
  return state == 'active'
end
