-- write_server: publish a server, the tasks it runs and the types it serves, replacing what it published before.
-- KEYS[1] string server record   KEYS[2] hash running tasks   KEYS[3] string types
-- ARGV[1] int life, s   ARGV[2] bytes server record   ARGV[3] string types as JSON, or '' when they are not told
-- ARGV[4..] per running task: string id, bytes record
-- Returns: 1
redis.call('SETEX', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '' then redis.call('DEL', KEYS[3]) else redis.call('SETEX', KEYS[3], ARGV[1], ARGV[3]) end
redis.call('DEL', KEYS[2])
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
if #ARGV > 3 then redis.call('EXPIRE', KEYS[2], ARGV[1]) end
return 1
