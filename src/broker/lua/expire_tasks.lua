-- expire_tasks: archive pending tasks that nobody began in time.
-- KEYS[1] list pending   KEYS[2] zset archived   KEYS[3] zset expiring
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix s   ARGV[3] int entries from the oldest to skip
-- ARGV[4] int entries to look at after those
-- ARGV[5..] per task: string id, bytes message it must have, bytes message it gets, string unique key or ''
-- Returns: int tasks archived. One that is another by now, or stands elsewhere, is left alone.
-- From the oldest end it is taken out as it stands. Farther in, where that would be a search, the newest task takes its
-- place: both are reached by position, and no task waits longer than it would have.
local skip, span = tonumber(ARGV[3]), tonumber(ARGV[4])
local window, places = redis.call('LRANGE', KEYS[1], -skip - span, -skip - 1), {}
for i, id in ipairs(window) do places[id] = -skip - #window + i - 1 end

local function take_out(id)
  if skip == 0 then return redis.call('LREM', KEYS[1], -1, id) end
  redis.call('LSET', KEYS[1], places[id], redis.call('LINDEX', KEYS[1], 0))
  redis.call('LPOP', KEYS[1])
end

local archived = 0
-- From the newest to the oldest, so that what takes a place is never one of those still to be taken out.
for i = #ARGV - 3, 5, -4 do
  local id = ARGV[i]
  local task = ARGV[1] .. id
  local field = redis.call('HMGET', task, 'state', 'msg')
  if places[id] and field[1] == 'pending' and field[2] == ARGV[i + 1] then
    -- The write that can fail goes first.
    local entered = redis.pcall('ZADD', KEYS[2], ARGV[2], id)
    if type(entered) == 'number' then
      take_out(id)
      redis.call('HSET', task, 'state', 'archived', 'msg', ARGV[i + 2])
      redis.call('HDEL', task, 'pending_since')
      redis.pcall('ZREM', KEYS[3], id)
      unlock(ARGV[i + 3], id)
      archived = archived + 1
    end
  end
end
return archived
