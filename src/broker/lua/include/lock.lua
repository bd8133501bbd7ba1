-- lock: take the lock of a unique task, unless a task that has not ended holds it.

-- How soon a lock of that life is to be looked at again, in s: often enough to lengthen it in time, and so
-- that what ended in another program's hands is forgotten within minutes.
local function look_after(life_s)
  return math.max(1, math.min(300, math.floor(life_s / 3)))
end

-- Returns nothing, or the id of the task that holds it ('' when the key is no lock). A lock whose task is gone
-- or has ended was left behind by another program.
local function lock(key, id, life_s, prefix)
  if redis.call('SET', key, id, 'NX', 'EX', life_s) then return nil end
  local holder = redis.pcall('GET', key)
  if type(holder) ~= 'string' then return '' end
  if holder ~= id then
    local state = redis.call('HGET', prefix .. holder, 'state')
    if state and state ~= 'archived' and state ~= 'completed' then return holder end
  end
  redis.call('SET', key, id, 'EX', life_s)
end
