-- store: write one new task, with its lock if it is unique. Needs lock.lua in front of it.

-- `at` has the keys `scheduled`, `groups`, `locks` and `expiring`, the prefixes `task` and `group`, and `now_ns`. With
-- `looks`, an array, what is to be added to `locks` is appended to that; with `taken`, a table, who holds which lock is noted
-- there and not looked up again. A task without a group or a lock has '' for it, one that is due at once has '0' for `due`,
-- and one that may begin at any time has nothing or '' for `begin_by` (Unix ms).
-- Returns 1 (stored; then true when its id is still to be pushed to pending), 0 (the id is taken) or the id of
-- the task that holds its lock. Nothing changed unless it was stored.
local function store(at, id, message, due, group, unique, life_s, begin_by)
  local taken = at.taken or {}
  local holder = unique ~= '' and taken[unique]
  if holder and holder ~= id then return holder end
  local task = at.task .. id
  if redis.call('EXISTS', task) == 1 then return 0 end
  at.now_s = at.now_s or tonumber(string.sub(at.now_ns, 1, -10))
  local now_s, is_pending = at.now_s, due == '0' and group == ''
  if unique ~= '' then
    local wait_s = due ~= '0' and math.max(0, tonumber(due) - now_s) or 0
    holder = lock(unique, id, wait_s == 0 and life_s or string.format('%d', life_s + wait_s), at.task)
    taken[unique] = holder or id
    if holder then return holder end
    if at.life_s ~= life_s then
      -- To the microsecond: what comes last goes to the end, and its place is found at once.
      local look = string.format('%d.%s', now_s + look_after(life_s), string.sub(at.now_ns, -9, -4))
      at.life_s, at.look = life_s, look
    end
    local look, looks = at.look, at.looks
    if looks then looks[#looks + 1], looks[#looks + 2] = look, id else redis.call('ZADD', at.locks, look, id) end
  end
  -- What is pending, the usual case, goes without a table: filling one is a twentieth of the script's time.
  if is_pending and unique == '' then
    redis.call('HSET', task, 'msg', message, 'state', 'pending', 'pending_since', at.now_ns)
  elseif is_pending then
    redis.call('HSET', task, 'msg', message, 'state', 'pending', 'pending_since', at.now_ns, 'unique_key', unique,
      'cronmill_lock', life_s)
  else
    local fields, n = {'msg', message, 'state', due ~= '0' and 'scheduled' or 'aggregating'}, 4
    if unique ~= '' then
      fields[5], fields[6], fields[7], fields[8], n = 'unique_key', unique, 'cronmill_lock', life_s, 8
    end
    if group ~= '' then fields[n + 1], fields[n + 2] = 'group', group end
    if due ~= '0' then
      redis.call('ZADD', at.scheduled, due, id)
    else
      redis.call('ZADD', at.group .. group, string.format('%d', now_s + 1), id)
      redis.call('SADD', at.groups, group)
    end
    redis.call('HSET', task, unpack(fields))
  end
  if begin_by and begin_by ~= '' then redis.pcall('ZADD', at.expiring, begin_by, id) end
  return 1, is_pending
end
