-- enqueue_tasks: store new tasks, each pending at once, in its group, or scheduled for its time.
-- KEYS[1] list pending   KEYS[2] zset scheduled   KEYS[3] set groups   KEYS[4] zset locks
-- KEYS[5] zset expiring
-- ARGV[1] string task-key prefix   ARGV[2] string group-key prefix   ARGV[3] int now, Unix ns
-- ARGV[4] bytes MessagePack: one array with, per task: id, message, due Unix s or '0' for now, group or '', key of its
--   unique lock or '', life of the lock, s, and Unix ms by which it is to begin or ''. Numbers are strings
-- Returns: array, per task 1 (stored), 0 (the id is taken) or the id of the task that holds its lock
--   (nothing changed)
local at = {
  scheduled = KEYS[2], groups = KEYS[3], locks = KEYS[4], expiring = KEYS[5],
  task = ARGV[1], group = ARGV[2], now_ns = ARGV[3], looks = {}, taken = {}
}
local new, verdicts, fresh = cmsgpack.unpack(ARGV[4]), {}, {}
for n = 1, #new, 7 do
  local verdict, is_pending =
    store(at, new[n], new[n + 1], new[n + 2], new[n + 3], new[n + 4], new[n + 5], new[n + 6])
  verdicts[#verdicts + 1] = verdict
  if is_pending then fresh[#fresh + 1] = new[n] end
end
if #at.looks > 0 then redis.call('ZADD', KEYS[4], unpack(at.looks)) end
if #fresh > 0 then redis.call('LPUSH', KEYS[1], unpack(fresh)) end
return verdicts
