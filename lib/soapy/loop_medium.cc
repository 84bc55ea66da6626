/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "soapy/loop_medium.h"

#include <cerrno>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace gr::neuralfec::loop {

namespace {

// Two transmitters, as two stations have; 0.4 s of each at 5 Msamples/s.
constexpr int transmitters = 2;
constexpr std::size_t ring = std::size_t(1) << 21;
constexpr std::size_t bursts = 4096;
constexpr int handles = 32;
constexpr uint32_t magic = 0x4e464c32;

int64_t monotonic_ns()
{
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}

} // namespace

struct burst_record {
    int64_t start, end;
    double frequency;
};

struct shared_medium {
    uint32_t magic;
    pthread_mutex_t mutex;
    double rate;
    int64_t begin_ns;
    pid_t attached[handles];
    struct transmitter {
        // Entry of the handle that has it, -1 for none.
        int owner;
        uint64_t count;
        int64_t end;
        burst_record records[bursts];
        std::complex<float> samples[ring];
    } sent[transmitters];
};

namespace {

// Holds the medium's mutex, also when its last holder was killed.
class locked
{
public:
    explicit locked(shared_medium* shared) : d_mutex(&shared->mutex)
    {
        if (pthread_mutex_lock(d_mutex) == EOWNERDEAD)
            pthread_mutex_consistent(d_mutex);
    }
    ~locked() { pthread_mutex_unlock(d_mutex); }
    locked(const locked&) = delete;
    locked& operator=(const locked&) = delete;

private:
    pthread_mutex_t* d_mutex;
};

bool alive(pid_t process)
{
    return process != 0 && (kill(process, 0) == 0 || errno == EPERM);
}

// Forgets processes that ended without saying so; how many handles are left.
int prune(shared_medium* shared)
{
    int left = 0;
    for (auto& process : shared->attached) {
        if (process != 0 && !alive(process))
            process = 0;
        left += process != 0;
    }
    for (auto& one : shared->sent)
        if (one.owner >= 0 && shared->attached[one.owner] == 0)
            one.owner = -1;
    return left;
}

void initialise(shared_medium* shared)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    shared->rate = 0;
    shared->begin_ns = monotonic_ns();
    std::fill_n(shared->attached, handles, 0);
    for (auto& one : shared->sent) {
        one.owner = -1;
        one.count = 0;
        one.end = 0;
    }
    shared->magic = magic;
}

} // namespace

medium::medium(const std::string& name) : d_name("/neuralfec-loop-" + name)
{
    constexpr const char* known =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    if (name.empty() || name.size() > 60 ||
        name.find_first_not_of(known) != std::string::npos)
        throw std::invalid_argument(
            "expected a loop's name of 1 to 60 letters, digits, - and _, got '" + name +
            "'");
    const auto fail = [&](const std::string& what) {
        const std::string reason = std::strerror(errno);
        if (d_file >= 0)
            close(d_file);
        throw std::runtime_error("loop " + name + ": " + what + ": " + reason);
    };
    // A medium that its last user takes away just now is opened again under its name.
    for (;;) {
        d_file = shm_open(d_name.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        if (d_file < 0)
            fail("no shared memory");
        if (flock(d_file, LOCK_EX) != 0)
            fail("no lock");
        struct stat found, named;
        const int again = shm_open(d_name.c_str(), O_RDWR | O_CLOEXEC, 0600);
        fstat(d_file, &found);
        const bool same =
            again >= 0 && fstat(again, &named) == 0 && named.st_ino == found.st_ino;
        if (again >= 0)
            close(again);
        if (same)
            break;
        close(d_file);
    }
    errno = posix_fallocate(d_file, 0, sizeof(shared_medium));
    if (errno != 0)
        fail("no room in shared memory");
    void* at = mmap(
        nullptr, sizeof(shared_medium), PROT_READ | PROT_WRITE, MAP_SHARED, d_file, 0);
    if (at == MAP_FAILED)
        fail("no shared memory");
    d_shared = static_cast<shared_medium*>(at);
    if (d_shared->magic != magic || prune(d_shared) == 0)
        initialise(d_shared);
    for (int i = 0; i < handles && d_entry < 0; i++)
        if (d_shared->attached[i] == 0)
            d_entry = i;
    if (d_entry < 0) {
        munmap(at, sizeof(shared_medium));
        errno = EBUSY;
        fail("32 devices are open");
    }
    d_shared->attached[d_entry] = getpid();
    flock(d_file, LOCK_UN);
}

medium::~medium()
{
    leave_transmitter();
    flock(d_file, LOCK_EX);
    d_shared->attached[d_entry] = 0;
    if (prune(d_shared) == 0 && !unplugged())
        shm_unlink(d_name.c_str());
    munmap(d_shared, sizeof(shared_medium));
    close(d_file);
}

void medium::set_rate(double rate)
{
    if (!(std::isfinite(rate) && rate >= 1e3 && rate <= 1e8))
        throw std::invalid_argument("expected a rate of 1e3 to 1e8 samples/s, got " +
                                    std::to_string(rate));
    const locked lock(d_shared);
    if (rate == d_shared->rate)
        return;
    if (d_shared->rate != 0 && prune(d_shared) > 1)
        throw std::runtime_error("wrong rate: the other devices of the loop run at " +
                                 std::to_string(std::llround(d_shared->rate)) +
                                 " samples/s, this one at " +
                                 std::to_string(std::llround(rate)));
    d_shared->rate = rate;
    for (auto& one : d_shared->sent) {
        one.count = 0;
        one.end = 0;
    }
}

double medium::rate() const
{
    return d_shared->rate;
}

int64_t medium::now(double scale) const
{
    return int64_t(std::floor((monotonic_ns() - d_shared->begin_ns) * 1e-9 *
                              d_shared->rate * scale));
}

bool medium::unplugged() const
{
    struct stat mine, named;
    const int again = shm_open(d_name.c_str(), O_RDONLY | O_CLOEXEC, 0600);
    if (again < 0)
        return true;
    const bool same = fstat(again, &named) == 0 && fstat(d_file, &mine) == 0 &&
                      mine.st_ino == named.st_ino;
    close(again);
    return !same;
}

void medium::take_transmitter()
{
    const locked lock(d_shared);
    prune(d_shared);
    for (int i = 0; i < transmitters; i++)
        if (d_shared->sent[i].owner < 0) {
            d_shared->sent[i].owner = d_entry;
            d_transmitter = i;
            return;
        }
    throw std::runtime_error(
        "busy: both transmitters of the loop are taken by processes " +
        std::to_string(d_shared->attached[d_shared->sent[0].owner]) + " and " +
        std::to_string(d_shared->attached[d_shared->sent[1].owner]));
}

void medium::leave_transmitter()
{
    if (d_transmitter < 0)
        return;
    const locked lock(d_shared);
    d_shared->sent[d_transmitter].owner = -1;
    d_transmitter = -1;
}

medium::written medium::write(const std::complex<float>* samples,
                              std::size_t size,
                              int64_t start,
                              double frequency,
                              bool continues,
                              int64_t ahead)
{
    const locked lock(d_shared);
    auto& mine = d_shared->sent[d_transmitter];
    // Read under the lock: a receiver has seen nothing beyond its own now.
    const int64_t now = this->now();
    if (start < 0)
        start = std::max(mine.end, now);
    else if (start < std::max(mine.end, now))
        return written::late;
    if (start + int64_t(size) > now + ahead)
        return written::none;
    auto* last = mine.count ? &mine.records[(mine.count - 1) % bursts] : nullptr;
    if (!(continues && last && last->end == start && last->frequency == frequency)) {
        last = &mine.records[mine.count++ % bursts];
        *last = {start, start, frequency};
    }
    for (std::size_t i = 0; i < size;) {
        const std::size_t at = (std::size_t(start) + i) % ring;
        const std::size_t count = std::min(size - i, ring - at);
        std::copy_n(samples + i, count, mine.samples + at);
        i += count;
    }
    mine.end = last->end = start + int64_t(size);
    return written::all;
}

int64_t medium::end() const
{
    const locked lock(d_shared);
    return d_shared->sent[d_transmitter].end;
}

std::vector<medium::piece> medium::read(int64_t from, int64_t to, bool own) const
{
    std::vector<piece> found;
    const locked lock(d_shared);
    for (int t = 0; t < transmitters; t++) {
        const auto& one = d_shared->sent[t];
        if (t == d_transmitter && !own)
            continue;
        const uint64_t oldest = one.count > bursts ? one.count - bursts : 0;
        for (uint64_t i = one.count; i-- > oldest;) {
            const auto& record = one.records[i % bursts];
            if (record.end <= from)
                break;
            const int64_t begin = std::max({record.start, from, one.end - int64_t(ring)});
            const int64_t end = std::min(record.end, to);
            if (begin >= end)
                continue;
            piece part{i * transmitters + t, record.start, begin, record.frequency, {}};
            part.samples.resize(end - begin);
            for (int64_t p = begin; p < end;) {
                const std::size_t at = std::size_t(p) % ring;
                const auto count = std::min<std::size_t>(end - p, ring - at);
                std::copy_n(one.samples + at, count, part.samples.begin() + (p - begin));
                p += count;
            }
            found.push_back(std::move(part));
        }
    }
    return found;
}

std::size_t medium::depth()
{
    return ring;
}

} // namespace gr::neuralfec::loop
