package executor

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// mountErofs mounts an EROFS image: a block device, or a file, which the kernel
// takes itself since 6.12 and needs a loop device for before.
func mountErofs(source, target string, o options) error {
	err := mountAt(source, target, "erofs", o.flags|unix.MS_RDONLY, o.data())
	if !errors.Is(err, unix.ENOTBLK) {
		return err
	}
	loop, err := attachLoop(source)
	if err != nil {
		return err
	}
	defer loop.Close() // the mount keeps the device, which then goes by itself
	return mountAt(loop.Name(), target, "erofs", o.flags|unix.MS_RDONLY, o.data())
}

// attachLoop puts a read-only loop device over a file. It is freed by its last
// user.
func attachLoop(path string) (*os.File, error) {
	backing, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, os.NewSyscallError("ioctl LOOP_CTL_GET_FREE", err)
		}
		loop, err := os.Open("/dev/loop" + strconv.Itoa(n))
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{
			Fd:   uint32(backing.Fd()),
			Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if err != unix.EBUSY { // another has taken this one meanwhile
			return nil, os.NewSyscallError("ioctl LOOP_CONFIGURE", err)
		}
	}
}
