package Bench::Targets;

# What is aimed at, and what a run reached of it: for t/bench/summary and
# t/bench/picture, from build/bench.json with its parts.

use strict;
use warnings;

# [part, figure, title, how, bound, against]: the median of ours, or where
# "against" is named the median of the rounds' ratios to that column, is at
# most or at least the bound.

my @TARGETS = (
    ['', bulk_cpu  => 'serve a file: CPU, s/GB', '<=', 0.70],
    ['', bulk_cpu  => 'serve a file: CPU', '<=', 0.30, 'tailscaled'],
    ['', proxy_cpu => 'proxy from a peer: CPU, s/GB', '<=', 1.2],
    ['', proxy_cpu => 'proxy from a peer: CPU', '<=', 0.35, 'tailscaled'],
    ['', pair_rate => 'the same at both ends: Gbit/s', '>=', 8],
    ['', pair_rate => 'the same at both ends: rate', '>=', 3, 'tailscaled'],
    ['', small_cpu => 'GET 1 KB: CPU, us', '<=', 25],
    ['', small_cpu => 'GET 1 KB: CPU', '<=', 0.35, 'tailscaled'],
    ['', paced_p99 => 'at half of its peak: latency, 99%', '<=', 0.5,
     'tailscaled'],
    ['', paced_own_p99 => '  the same by our own node', '<=', 0.5,
     'tailscaled'],
    ['', loaded_times => 'latency beside a download, times', '<=', 3],
    ['', loaded_other_times => '  beside one by another peer', '<=', 3],
    ['', fair_jain => '3 peers at once: Jain\'s index', '>=', 0.95],
    ['', tls_cpu   => 'new TLS connection: CPU, us', '<=', 450],
    ['', tls_rate  => 'new TLS connections a second', '>=', 2, 'tailscaled'],
    ['', tls_own_rate => '  the same by our own node', '>=', 2, 'tailscaled'],
    ['', wan_rate  => '40 ms, 200 Mbit/s: Mbit/s', '>=', 180],
    ['', lossy_rate => '  with 0.5% loss: Mbit/s', '>=', 175],
    ['', derp_cpu  => 'proxy by DERP: CPU, s/GB', '<=', 4],
    ['', derp_rate => 'proxy by DERP: rate', '>=', 3, 'tailscaled'],
    ['', derp_own_cpu => '  from our own node: CPU, s/GB', '<=', 4],
    ['', derp_pair_rate => '  the same at both ends: rate', '>=', 3,
     'tailscaled'],
    ['', rss_idle  => 'RSS beyond nginx, idle, MB', '<=', 12],
    ['', rss_loaded => '  after the load, MB', '<=', 24],
    [idle => core_percent => 'idle with 100 peers: % of a core', '<=', 0.1],
    [map => serving => '10,000 peers: first map to a page, s', '<=', 0.6],
    [gateway => down_cpu => 'gateway, iperf3 -R: CPU', '<=', 0.6, 'tun'],
    [gateway => down_cpu => 'gateway, iperf3 -R: CPU', '<=', 0.35,
     'userspace'],
    [gateway => up_cpu => 'gateway, iperf3: CPU', '<=', 0.6, 'tun'],
    [gateway => up_cpu => 'gateway, iperf3: CPU', '<=', 0.35, 'userspace'],
    [gateway => new_flow => 'gateway: a new flow', '<=', 1.5, 'node_ts'],
    [gateway => held => 'gateway: flows at once', '>=', 'flows'],
);

my %AGAINST = (
    tailscaled => 'tailscaled + nginx',
    tun        => 'TUN mode',
    userspace  => 'userspace mode',
    node_ts    => 'a node there',
);


# figures($bench, $part): { name => as Bench::Report has it }

sub figures {
    my ($bench, $part) = @_;
    my $of = $part ? $bench->{parts}{$part} : $bench;

    return { map { $_->{name} => $_ } @{($of // {})->{figures} // []} };
}


# Those that were measured: [{ figure, title, against, how, bound, value,
# reached }, ...].

sub all {
    my ($bench) = @_;
    my (%part, @out);

    for (@TARGETS) {
        my ($part, $name, $title, $how, $bound, $against) = @$_;
        my $figure = ($part{$part} //= figures($bench, $part))->{$name};
        my $value = $part eq 'idle' ? ($bench->{parts}{idle} // {})->{$name}
            : $against ? $figure->{ratios}{"ours/$against"}{median}
            : $figure->{servers}{ours}{median};

        next unless defined $value;
        $bound = $bench->{parts}{$part}{$bound} if $bound =~ /^[a-z]/;

        push @out, {
            figure  => $name,
            title   => $title,
            against => $against,
            to      => $against ? $AGAINST{$against} : '',
            how     => $how,
            bound   => $bound,
            value   => $value,
            reached => $how eq '<=' ? $value <= $bound : $value >= $bound,
        };
    }

    return @out;
}


1;
