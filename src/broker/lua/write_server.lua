-- write_server: publish a server and the tasks it runs, replacing what it published before.
-- KEYS[1] string server record   KEYS[2] hash running tasks
-- ARGV[1] int life, s   ARGV[2] bytes server record   ARGV[3..] per running task: string id, bytes record
-- Returns: 1
redis.call('SETEX', KEYS[1], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[2])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
if #ARGV > 2 then redis.call('EXPIRE', KEYS[2], ARGV[1]) end
return 1
