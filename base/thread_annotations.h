// Annotations for clang's thread-safety analysis (-Wthread-safety, in the floors that use this): which mutex
// guards a member, and which functions require it. The standard library's mutexes have no annotations, so
// Mutex and MutexLock add them, and nothing else.
//
//   Mutex mutex_;
//   std::vector<Item> queue_ GUARDED_BY(mutex_);
//   void Pop() REQUIRES(mutex_);
#pragma once

#include <condition_variable>
#include <mutex>

#define PENSTOCK_ANNOTATION(x) __attribute__((x))
#define CAPABILITY(x) PENSTOCK_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY PENSTOCK_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) PENSTOCK_ANNOTATION(guarded_by(x))
#define PT_GUARDED_BY(x) PENSTOCK_ANNOTATION(pt_guarded_by(x))
#define REQUIRES(...) PENSTOCK_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) PENSTOCK_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) PENSTOCK_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) PENSTOCK_ANNOTATION(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS PENSTOCK_ANNOTATION(no_thread_safety_analysis)

namespace penstock {

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

// Holds a Mutex until its end, except between Unlock and Lock and during a wait.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : lock_(mutex.mutex_) {}
  ~MutexLock() RELEASE() {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void Unlock() RELEASE() { lock_.unlock(); }
  void Lock() ACQUIRE() { lock_.lock(); }

  // Use loops around these for conditions, because the analysis cannot check a predicate.
  void Wait(std::condition_variable& condition) { condition.wait(lock_); }
  template <class Duration>
  std::cv_status WaitFor(std::condition_variable& condition, Duration duration) {
    return condition.wait_for(lock_, duration);
  }
  template <class Time>
  std::cv_status WaitUntil(std::condition_variable& condition, Time time) {
    return condition.wait_until(lock_, time);
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace penstock
