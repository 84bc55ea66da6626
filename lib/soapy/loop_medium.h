/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace gr::neuralfec::loop {

struct shared_medium;

/*!
 * \brief The air between loop devices: samples of transmitters in shared memory.
 *
 * Positions count samples since the medium was made, by the monotonic clock of the
 * machine: they are the same in all processes. Each transmitter has a ring of samples;
 * what nobody sent is silence. All calls may come from any thread and process.
 */
class medium
{
public:
    //! A piece of a burst, as a receiver finds it.
    struct piece {
        uint64_t burst; // its number, over all transmitters
        int64_t start;  // position of the burst's first sample
        int64_t from;   // position of the first of these samples
        double frequency;
        std::vector<std::complex<float>> samples;
    };

    enum class written { all, late, none };

    /*!
     * \param name of the medium: letters, digits, - and _
     * \throws std::invalid_argument for other names, std::runtime_error where there can
     * be no shared memory
     */
    explicit medium(const std::string& name);
    ~medium();
    medium(const medium&) = delete;
    medium& operator=(const medium&) = delete;

    //! Set the rate of all. \throws std::runtime_error where a peer runs at another one
    void set_rate(double rate);
    double rate() const;
    //! The position of now; \param scale of the clock that counts
    int64_t now(double scale = 1) const;
    //! Whether the shared memory was taken away, as a radio is unplugged.
    bool unplugged() const;

    //! Take one of the transmitters. \throws std::runtime_error where all are taken
    void take_transmitter();
    void leave_transmitter();

    /*!
     * Put samples on the air.
     *
     * \param start position, or -1 for the end of what was sent before, at the earliest
     * now \param continues whether they belong to the burst before, where that has not
     * ended \param ahead most samples between now and the end of what is on the air
     * \returns all; late where start has gone by; none where they are too far ahead yet
     */
    written write(const std::complex<float>* samples,
                  std::size_t size,
                  int64_t start,
                  double frequency,
                  bool continues,
                  int64_t ahead);
    //! Where what this transmitter sent ends.
    int64_t end() const;

    //! What is on the air in [from, to), where to is not after now. \param own with what
    //! this device sends, too
    std::vector<piece> read(int64_t from, int64_t to, bool own) const;
    //! Samples that a transmitter's ring keeps.
    static std::size_t depth();

private:
    std::string d_name;
    shared_medium* d_shared = nullptr;
    int d_file = -1, d_entry = -1, d_transmitter = -1;
};

} // namespace gr::neuralfec::loop
