-- read_held: what is known of tasks that a dead worker holds. Nothing is changed.
-- KEYS[1] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] string owner   ARGV[3..] per task: string id, int lease end
-- Returns: array, first the int of tasks looked at, at least one and then no more than 1 MiB of messages; then per task
--   of those that is still theirs what `tell` adds
local reply, bytes = {0}, 0
for i = 3, #ARGV, 2 do
  local id, lease = ARGV[i], ARGV[i + 1]
  reply[1] = reply[1] + 1
  if holder(redis.call('HGET', KEYS[1], id), lease) == ARGV[2] then
    bytes = bytes + tell(reply, ARGV[1], id, lease, ARGV[2])
    if bytes > BYTES_MAX then break end
  end
end
return reply
