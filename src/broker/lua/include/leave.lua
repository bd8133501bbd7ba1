-- leave: take ids out of a list, and give back the lock of a unique task.

-- Removal by value is O(n). Ids stand once, and are found near one of the ends: look a little way from the
-- head first, and otherwise search from the tail.
local function leave_list(list, id)
  local near_head = redis.call('LPOS', list, id, 'MAXLEN', '128')
  return redis.call('LREM', list, near_head and '1' or '-1', id)
end

-- Takes out several ids, which are also the keys of `is_leaving`. What was taken first mostly ends first, and stands at
-- the tail: that many are taken off there at once, and those that stay are put back. The rest is searched for.
local function leave_together(list, ids, is_leaving)
  if #ids == 1 then return leave_list(list, ids[1]) end
  local taken, stay, is_gone = redis.call('RPOP', list, #ids) or {}, {}, {}
  for i = #taken, 1, -1 do
    if is_leaving[taken[i]] then is_gone[taken[i]] = true else stay[#stay + 1] = taken[i] end
  end
  if stay[1] then redis.call('RPUSH', list, unpack(stay)) end
  if #taken - #stay == #ids then return end
  for _, id in ipairs(ids) do
    if not is_gone[id] then leave_list(list, id) end
  end
end

-- Who has no `locks` at hand leaves it to the keeper to forget the id there.
local function unlock(key, id, locks)
  if not key or key == '' then return end
  if redis.pcall('GET', key) == id then redis.call('DEL', key) end
  if locks then redis.call('ZREM', locks, id) end
end
