-- leave: take ids out of a list, and give back the lock of a unique task.

-- Removal by value is O(n). Ids stand once, and are found near one of the ends: look a little way from the
-- head first, and otherwise search from the tail.
local function leave_list(list, id)
  local near_head = redis.call('LPOS', list, id, 'MAXLEN', '128')
  return redis.call('LREM', list, near_head and '1' or '-1', id)
end

-- Takes out several ids, which are also the keys of `is_leaving`. Of a short list, what stays is written behind it and the
-- old part is cut off: that costs the same whatever their number, and a failure leaves the list as it was.
local function leave_together(list, ids, is_leaving)
  local length = redis.call('LLEN', list)
  if #ids > 2 and length <= 64 then
    local stay = {}
    for _, id in ipairs(redis.call('LRANGE', list, '0', '-1')) do
      if not is_leaving[id] then stay[#stay + 1] = id end
    end
    if #stay == 0 then return redis.call('DEL', list) end
    if redis.pcall('RPUSH', list, unpack(stay)) == length + #stay then
      return redis.call('LTRIM', list, length, '-1')
    end
  end
  for _, id in ipairs(ids) do leave_list(list, id) end
end

-- Who has no `locks` at hand leaves it to the keeper to forget the id there.
local function unlock(key, id, locks)
  if not key or key == '' then return end
  if redis.pcall('GET', key) == id then redis.call('DEL', key) end
  if locks then redis.call('ZREM', locks, id) end
end
