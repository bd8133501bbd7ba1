-- enqueue_tasks: store new tasks, each pending at once, in its group, or scheduled for its time.
-- KEYS[1] list pending   KEYS[2] zset scheduled   KEYS[3] set groups   KEYS[4] zset locks
-- ARGV[1] string task-key prefix   ARGV[2] string group-key prefix   ARGV[3] int now, Unix ns
-- ARGV[4..] per task: string id, bytes message, int due Unix s or 0 for now, string group or '',
--   string key of its unique lock or '', int life of the lock, s
-- Returns: array, per task 1 (stored), 0 (the id is taken) or the id of the task that holds its lock
--   (nothing changed)
local at = {scheduled = KEYS[2], groups = KEYS[3], locks = KEYS[4], task = ARGV[1], group = ARGV[2], now_ns = ARGV[3]}
local verdicts, fresh = {}, {}
for i = 4, #ARGV, 6 do
  local verdict, is_pending = store(at, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
  verdicts[#verdicts + 1] = verdict
  if is_pending then fresh[#fresh + 1] = ARGV[i] end
end
if #fresh > 0 then redis.call('LPUSH', KEYS[1], unpack(fresh)) end
return verdicts
