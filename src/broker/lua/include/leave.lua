-- leave: take an id out of a list, and give back the lock of a unique task.

-- Removal by value is O(n). Ids stand once, and are found near one of the ends: look a little way from the
-- head first, and otherwise search from the tail.
local function leave_list(list, id)
  local near_head = redis.call('LPOS', list, id, 'MAXLEN', 128)
  return redis.call('LREM', list, near_head and 1 or -1, id)
end

local function unlock(key, id)
  if key and key ~= '' and redis.pcall('GET', key) == id then redis.call('DEL', key) end
end
