-- enqueue_tasks: store new tasks, each pending at once, in its group, or scheduled for its time.
-- KEYS[1] list pending   KEYS[2] zset scheduled   KEYS[3] set groups   KEYS[4] zset locks
-- KEYS[5] zset expiring
-- ARGV[1] string task-key prefix   ARGV[2] string group-key prefix   ARGV[3] int now, Unix ns
-- ARGV[4] int n   ARGV[5..] n times: string id of a task that is to begin by a time, int that time, Unix ms;
--   then per task: string id, bytes message, int due Unix s or 0 for now, string group or '',
--   string key of its unique lock or '', int life of the lock, s
-- Returns: array, per task 1 (stored), 0 (the id is taken) or the id of the task that holds its lock
--   (nothing changed)
local at = {
  scheduled = KEYS[2], groups = KEYS[3], locks = KEYS[4], expiring = KEYS[5],
  task = ARGV[1], group = ARGV[2], now_ns = ARGV[3]
}
local verdicts, fresh, begin_by, first = {}, {}, {}, 5 + 2 * ARGV[4]
for i = 5, first - 1, 2 do begin_by[ARGV[i]] = ARGV[i + 1] end
for i = first, #ARGV, 6 do
  local id = ARGV[i]
  local verdict, is_pending =
    store(at, id, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], begin_by[id])
  verdicts[#verdicts + 1] = verdict
  if is_pending then fresh[#fresh + 1] = id end
end
if #fresh > 0 then redis.call('LPUSH', KEYS[1], unpack(fresh)) end
return verdicts
