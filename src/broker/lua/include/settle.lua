-- settle: what becomes of waiting tasks that somebody deletes, archives or runs, many at once.

-- The writes that can fail; they go first, so that a failure leaves every task where it is.
local function enter(verb, ids, pending, archived, now_s)
  if #ids == 0 then return end
  if verb == 'run' then return redis.call('LPUSH', pending, unpack(ids)) end
  if verb ~= 'archive' then return end
  local scored = {}
  for _, id in ipairs(ids) do
    scored[#scored + 1] = now_s
    scored[#scored + 1] = id
  end
  redis.call('ZADD', archived, unpack(scored))
end

-- Then the task itself. What is deleted or archived gives its lock back; the keeper forgets the id among the locks.
local function settle(verb, task, id, held, now_ns)
  if verb == 'run' then return redis.call('HSET', task, 'state', 'pending', 'pending_since', now_ns) end
  unlock(held, id)
  if verb == 'archive' then return redis.call('HSET', task, 'state', 'archived') end
  redis.call('UNLINK', task)
end

-- The lock that a task holds: its field, or what stands in its message, where asynq leaves it for members of groups
-- (field 10 of the message: 0x52, length, text). A text that only looks so does no harm: a lock is given back only if
-- it names the task. Messages above 16 KiB are not searched.
local function lock_of(task, field, prefix)
  if field then return field end
  if redis.call('HSTRLEN', task, 'msg') > 16384 then return false end
  local message = redis.call('HGET', task, 'msg') or ''
  local at = string.find(message, prefix, 1, true)
  if not at or at < 3 then return false end
  local low, high = string.byte(message, at - 2, at - 1)
  local length = low == 82 and high or (low - 128 + high * 128)
  return string.sub(message, at, at + length - 1)
end
