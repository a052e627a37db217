package vm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A guest reports memory that it has freed (virtio-balloon's free page
// reporting), and QEMU gives it back to the host: where its memory is a file it
// punches a hole into the file, and then drops its own copy of the pages. The
// memory of a template is a file that many machines share and none can change:
// the first step fails, and QEMU leaves out the second, which is all that it
// takes. So QEMU's system calls that punch holes come here first (seccomp's user
// notification): one into a template's memory is answered as if it had been done,
// any other goes on to the kernel. Where it is the file that counts, at disks,
// nothing changes.

// punchHole is the mode of the calls in question.
const punchHole = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE

// notification and notificationAnswer are struct seccomp_notif and struct
// seccomp_notif_resp of linux/seccomp.h.
type notification struct {
	id    uint64
	pid   uint32 // the thread's
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type notificationAnswer struct {
	id    uint64
	value int64
	err   int32
	flags uint32
}

// holes is what the calling thread, and what it starts, ask before they punch a
// hole. It ends with them.
type holes struct {
	listener *os.File
	memory   fileID // of the template
}

type fileID struct{ dev, inode uint64 }

// listenForHoles installs the filter in the calling thread, which must not be
// able to gain privileges. A thread can have one such filter.
func listenForHoles(memory *os.File) (*holes, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(memory.Fd()), &st); err != nil {
		return nil, fmt.Errorf("looking at the template's memory: %w", err)
	}
	fd, err := installHoleFilter()
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that it is waited for without a thread
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &holes{listener: os.NewFile(uintptr(fd), "seccomp"), memory: fileID{st.Dev, st.Ino}}, nil
}

func installHoleFilter() (listener int, err error) {
	const (
		offNr, offArch, offMode = 0, 4, 24 // in struct seccomp_data; the mode is the low half of the second argument
		load                    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal                   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer                  = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{
		{Code: load, K: offArch},
		{Code: equal, Jf: 5, K: auditArch},
		{Code: load, K: offNr},
		{Code: equal, Jf: 3, K: unix.SYS_FALLOCATE},
		{Code: load, K: offMode},
		{Code: equal, Jf: 1, K: punchHole},
		{Code: answer, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return 0, fmt.Errorf("asking to be told of QEMU's system calls (seccomp): %w", errno)
	}
	return int(fd), nil
}

// answer answers until those who ask are gone or the listener is closed.
func (h *holes) answer() {
	conn, err := h.listener.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) (done bool) { // fails when the listener is closed
		for {
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(ready, 0)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil || ready[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0:
				return true
			case n == 0:
				return false
			default:
				h.answerOne(fd)
			}
		}
	})
}

// answerOne answers one call. If that fails, who asked has gone.
func (h *holes) answerOne(listener uintptr) {
	var n notification
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, listener, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return
	}
	a := notificationAnswer{id: n.id}
	if !h.isMemory(n) {
		a.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, listener, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
}

// isMemory says whether the call is about the template's memory. The thread waits
// for the answer, so the descriptor is what it was.
func (h *holes) isMemory(n notification) bool {
	var st unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", n.pid, int32(n.args[0])), &st)
	return err == nil && fileID{st.Dev, st.Ino} == h.memory
}

// close ends answer; who asks afterwards is told that there is no such call.
func (h *holes) close() {
	if h != nil {
		h.listener.Close()
	}
}

// CanGiveBack says why machines that go on from a template cannot give memory
// back to this host; nil if they can.
func CanGiveBack() error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its filter
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			var fd int
			if fd, err = installHoleFilter(); err == nil {
				err = unix.Close(fd)
			}
		}
		result <- err
	}()
	return <-result
}
