-- leave: take an id out of a list, and give back the lock of a unique task.

-- Removal by value is O(n). Ids stand once, and are found near one of the ends: look a little way from the
-- head first, and otherwise search from the tail.
local function leave_list(list, id)
  local near_head = redis.call('LPOS', list, id, 'MAXLEN', 128)
  return redis.call('LREM', list, near_head and 1 or -1, id)
end

-- Who has no `locks` at hand leaves it to the keeper to forget the id there.
local function unlock(key, id, locks)
  if not key or key == '' then return end
  if redis.pcall('GET', key) == id then redis.call('DEL', key) end
  if locks then redis.call('ZREM', locks, id) end
end
