// What one would write in C++ for one Metropolis chain: scalar, double precision, standard library random numbers.
// Prints trial moves per second, acceptance and mean energy after the last sweep.
// With EVERY and SEED it prints U and the sum of the heights after every so many sweeps of each chain, too.
//   g++ -O3 -march=native metropolis.cpp -o metropolis && ./metropolis CHAINS SWEEPS GAMMA STEP [EVERY SEED]
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

constexpr int N = 30;
constexpr double L = 10.0, T = 0.75, R_CUT_SQUARED = 9.0;

struct Particle {
    double x, y;
};

double pair_energy(double r2) {
    if (r2 >= R_CUT_SQUARED) return 0.0;
    const double q = 1.0 / r2, q3 = q * q * q;
    return 4.0 * q3 * (q3 - 1.0);
}

double energy_of(const std::vector<Particle>& particles, int i, Particle at, double gamma) {
    double u = gamma * at.y;
    for (int j = 0; j < N; ++j) {
        if (j == i) continue;
        const double dx = at.x - particles[j].x, dy = at.y - particles[j].y;
        u += pair_energy(dx * dx + dy * dy);
    }
    return u;
}

double total_energy(const std::vector<Particle>& particles, double gamma) {
    double u = 0.0;
    for (int i = 0; i < N; ++i)
        u += 0.5 * (energy_of(particles, i, particles[i], gamma) + gamma * particles[i].y);
    return u;
}

int main(int argc, char** argv) {
    if (argc != 5 && argc != 7)
        return std::fprintf(stderr, "usage: metropolis CHAINS SWEEPS GAMMA STEP [EVERY SEED]\n"), 2;
    const int chains = std::atoi(argv[1]), sweeps = std::atoi(argv[2]);
    const double gamma = std::atof(argv[3]), step = std::atof(argv[4]);
    const int every = argc == 7 ? std::atoi(argv[5]) : 0;
    std::mt19937_64 generator(argc == 7 ? std::atoi(argv[6]) : 1);
    std::vector<double> series;
    std::uniform_real_distribution<double> unit(0.0, 1.0);
    long accepted = 0;
    double energy = 0.0, energy_squared = 0.0;
    const auto start = std::chrono::steady_clock::now();
    for (int chain = 0; chain < chains; ++chain) {
        std::vector<Particle> particles(N);
        for (auto& p : particles) p = {L * unit(generator), L * unit(generator)};
        for (int sweep = 0; sweep < sweeps; ++sweep) {
            for (int i = 0; i < N; ++i) {
                const Particle old = particles[i];
                Particle trial = {old.x + step * (2.0 * unit(generator) - 1.0),
                                  old.y + step * (2.0 * unit(generator) - 1.0)};
                if (trial.x < 0.0 || trial.x > L) trial.x = old.x;
                if (trial.y < 0.0 || trial.y > L) trial.y = old.y;
                const double du = energy_of(particles, i, trial, gamma) - energy_of(particles, i, old, gamma);
                if (du <= 0.0 || unit(generator) < std::exp(-du / T)) {
                    particles[i] = trial;
                    ++accepted;
                }
            }
            if (every && (sweep + 1) % every == 0) {
                series.push_back(total_energy(particles, gamma));
                series.push_back(0.0);
                for (const auto& p : particles) series.back() += p.y;
            }
        }
        const double u = total_energy(particles, gamma);
        energy += u;
        energy_squared += u * u;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double moves = double(chains) * sweeps * N, mean = energy / chains;
    std::printf("%.6g %.4f %.4f %.4f\n", moves / seconds, accepted / moves, mean,
                std::sqrt((energy_squared / chains - mean * mean) / chains));
    for (std::size_t k = 0; k < series.size(); k += 2) std::printf("%.6f %.6f\n", series[k], series[k + 1]);
}
