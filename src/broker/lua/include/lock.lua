-- lock: take the lock of a unique task, unless a task that has not ended holds it.

-- How soon a lock of that life is to be looked at again, in s: often enough to lengthen it in time, and so
-- that what ended in another program's hands is forgotten within minutes.
local function look_after(life_s)
  return math.max(1, math.min(300, math.floor(life_s / 3)))
end

-- The id of the task that holds a lock ('' when the key is no lock), or nothing. A lock whose task is gone or has ended
-- was left behind by another program.
local function holder_of(key, prefix)
  local holder = redis.pcall('GET', key)
  if not holder then return nil end
  if type(holder) ~= 'string' then return '' end
  local state = redis.pcall('HGET', prefix .. holder, 'state')
  if type(state) == 'string' and state ~= 'archived' and state ~= 'completed' then return holder end
end

-- Returns nothing, or who else holds it.
local function lock(key, id, life_s, prefix)
  if redis.call('SET', key, id, 'NX', 'EX', life_s) then return nil end
  local holder = holder_of(key, prefix)
  if holder and holder ~= id then return holder end
  redis.call('SET', key, id, 'EX', life_s)
end
