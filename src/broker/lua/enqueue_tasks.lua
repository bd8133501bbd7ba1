-- enqueue_tasks: store new tasks, each pending at once or scheduled for its time.
-- KEYS[1] list pending   KEYS[2] zset scheduled
-- ARGV[1] string task-key prefix   ARGV[2] int now, Unix ns
-- ARGV[3..] per task: string id, bytes message, int due Unix s or 0 for now
-- Returns: array, per task 1 (stored) or 0 (the id is taken, nothing changed)
local verdicts, fresh = {}, {}
for i = 3, #ARGV, 3 do
  local id, message, due = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local task = ARGV[1] .. id
  if redis.call('EXISTS', task) == 1 then
    verdicts[#verdicts + 1] = 0
  elseif due == '0' then
    redis.call('HSET', task, 'msg', message, 'state', 'pending', 'pending_since', ARGV[2])
    fresh[#fresh + 1] = id
    verdicts[#verdicts + 1] = 1
  else
    redis.call('HSET', task, 'msg', message, 'state', 'scheduled')
    redis.call('ZADD', KEYS[2], due, id)
    verdicts[#verdicts + 1] = 1
  end
end
if #fresh > 0 then redis.call('LPUSH', KEYS[1], unpack(fresh)) end
return verdicts
