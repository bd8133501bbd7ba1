-- expire_tasks: archive pending tasks that nobody began in time.
-- KEYS[1] list pending   KEYS[2] zset archived
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix s
-- ARGV[3..] per task: string id, bytes message it must have, bytes message it gets, string unique key or ''
-- Returns: array, per task 1 (archived) or 0 (it is another by now, nothing changed)
-- They are among the oldest, so each is found near the end of the list.
local verdicts = {}
for i = 3, #ARGV, 4 do
  local id, verdict = ARGV[i], 0
  local task = ARGV[1] .. id
  local field = redis.call('HMGET', task, 'state', 'msg')
  if field[1] == 'pending' and field[2] == ARGV[i + 1] then
    -- The write that can fail goes first.
    local entered = redis.pcall('ZADD', KEYS[2], ARGV[2], id)
    if type(entered) == 'number' then
      if redis.call('LREM', KEYS[1], -1, id) == 0 then
        redis.call('ZREM', KEYS[2], id)
      else
        redis.call('HSET', task, 'state', 'archived', 'msg', ARGV[i + 2])
        redis.call('HDEL', task, 'pending_since')
        unlock(ARGV[i + 3], id)
        verdict = 1
      end
    end
  end
  verdicts[#verdicts + 1] = verdict
end
return verdicts
