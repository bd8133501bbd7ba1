-- read_held: what is known of tasks that a dead worker holds. Nothing is changed.
-- KEYS[1] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] string owner   ARGV[3..] per task: string id, int lease end
-- Returns: array, per task what `tell` adds: of the first ones, at least one and then no more than 1 MiB of messages
local reply, bytes = {}, 0
for i = 3, #ARGV, 2 do
  bytes = bytes + tell(reply, ARGV[1], ARGV[i], ARGV[i + 1], ARGV[2])
  if bytes > BYTES_MAX then break end
end
return reply
