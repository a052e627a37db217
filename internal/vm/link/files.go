package link

// MountFilesMethod is a further method of GuestService: it takes a
// CreateTaskRequest, of which the id, the mounts and options of the type
// shimapi.FilesOptionsURL count, and returns an Empty. The guest mounts a
// container's root file system and makes no container; streams of the kind Files
// then lead to it.
const MountFilesMethod = "MountFiles"
