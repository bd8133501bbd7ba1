package main

import (
	"sort"
	"strconv"

	"github.com/hibiken/asynq"
)

// Orders to asynq's Inspector that handle many tasks, or change one.
func init() {
	inspections["delete-queue"] = inspection{"QUEUE FORCE", deleteQueue}
	inspections["delete-pending"] = inspection{"QUEUE", counted((*asynq.Inspector).DeleteAllPendingTasks)}
	inspections["archive-pending"] = inspection{"QUEUE", counted((*asynq.Inspector).ArchiveAllPendingTasks)}
	inspections["groups"] = inspection{"QUEUE", listGroups}
	inspections["edit"] = inspection{"QUEUE ID PAYLOAD", order(func(i *asynq.Inspector, a []string) error {
		return i.UpdateTaskPayload(a[0], a[1], []byte(a[2]))
	})}
}

func deleteQueue(inspector *asynq.Inspector, arguments []string) (any, error) {
	force, err := strconv.ParseBool(arguments[1])
	if err != nil {
		return nil, errUsage{err.Error()}
	}
	return true, inspector.DeleteQueue(arguments[0], force)
}

// counted makes an inspection of something that answers how many tasks it handled.
func counted(do func(*asynq.Inspector, string) (int, error)) func(*asynq.Inspector, []string) (any, error) {
	return func(inspector *asynq.Inspector, arguments []string) (any, error) {
		return do(inspector, arguments[0])
	}
}

// listGroups names the groups that asynq knows of, with the tasks in each.
func listGroups(inspector *asynq.Inspector, arguments []string) (any, error) {
	groups, err := inspector.Groups(arguments[0])
	sort.Slice(groups, func(i, j int) bool { return groups[i].Group < groups[j].Group })
	result := []map[string]any{}
	for _, group := range groups {
		result = append(result, map[string]any{"group": group.Group, "size": group.Size})
	}
	return result, err
}
