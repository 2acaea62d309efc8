package Bench::Figures;

# The figures of "make bench": what each does, in which network, whom it can
# be asked of, and the rows that it fills.

use strict;
use warnings;

use Time::HiRes qw(sleep);

use Bench::Network;
use Bench::Usage;

my @ALL = qw(ours lwip tailscaled tsnet plain);


# all(%size): in the order of the table. Each is { name, network, of => [server
# kinds], own => how many nodes of ours as clients, run => sub ($network,
# $server) returning row => value, rows => [name, title, unit, format, ratio:
# 0 for none] }.

sub all {
    my (%size) = @_;
    my ($mb, $far, $derp) = @size{qw(big_mb far_s derp_mb)};
    my ($n, $tls) = @size{qw(conns tls)};
    my $of = $size{rivals} ? [grep { $size{rivals}{$_} } @ALL] : \@ALL;

    return (
        { name => 'bulk', network => 'lan', of => \@ALL,
          run  => sub { bulk(@_, %size) },
          rows => [
              [bulk_cpu    => "serve $mb MB: server's CPU", 's/GB'],
              [bulk_nginx  => '  of it nginx', 's/GB'],
              [bulk_beyond => "  machine's CPU but the client's", 's/GB'],
              [bulk_rate   => '  rate', 'Gbit/s'],
          ] },
        { name => 'ends', network => 'lan', of => $of, own => 1,
          run  => sub { ends(@_, %size) },
          rows => [
              [ends_rate => "serve $mb MB to our own node: rate", 'Gbit/s'],
              [ends_cpu  => "  server's CPU", 's/GB'],
              [pair_rate => 'the same program at both ends: rate', 'Gbit/s'],
          ] },
        { name => 'proxy', network => 'lan', of => $of,
          run  => sub { proxy(@_, 'proxy') },
          rows => [
              [proxy_cpu   => "proxy $mb MB from a peer: server's CPU",
               's/GB'],
              [proxy_nginx => '  of it nginx', 's/GB'],
              [proxy_rate  => '  rate', 'Gbit/s'],
          ] },
        { name => 'small', network => 'lan', of => \@ALL,
          run  => sub { small(@_, 'small', %size) },
          rows => small_rows('small', "GET 1 KB, $n conns") },
        { name => 'small_own', network => 'lan', of => $of, own => 1,
          run  => sub { small(@_, 'small_own', %size) },
          rows => small_rows('small_own', 'GET 1 KB by our own node') },
        { name => 'paced', network => 'lan', of => $of,
          run  => sub { paced(@_, 'paced', %size) },
          rows => paced_rows('paced', "GET 1 KB, half of a rival's peak") },
        { name => 'paced_own', network => 'lan', of => $of, own => 1,
          run  => sub { paced(@_, 'paced_own', %size) },
          rows => paced_rows('paced_own', 'half of its peak, our own node') },
        { name => 'tls', network => 'lan', of => $of,
          run  => sub { tls(@_, 'tls', %size) },
          rows => tls_rows('tls', "$tls new TLS 1.3 connections") },
        { name => 'tls_own', network => 'lan', of => $of, own => 1,
          run  => sub { tls(@_, 'tls_own', %size) },
          rows => tls_rows('tls_own', "$tls by our own node") },
        { name => 'loaded', network => 'lan', of => $of, own => 1,
          run  => sub { loaded(@_, %size) },
          rows => [
              [loaded_quiet => "GET 1 KB, $size{loaded_rate}/s by our own "
               . 'node: latency, 99%', 'ms'],
              [loaded_same  => '  while it downloads', 'ms'],
              [loaded_times => '    ratio to that without', 'times', '%.1f'],
              [loaded_other => '  while the peer downloads', 'ms'],
              [loaded_other_times => '    ratio to that without', 'times',
               '%.1f'],
          ] },
        { name => 'fair', network => 'lan', of => $of, own => 3,
          run  => sub { fair(@_, %size) },
          rows => [
              [fair_jain => '3 peers download at once: Jain\'s index', '1 = '
               . 'equal', '%.3f', 0],
              [fair_worst => '  slowest / fastest', '', '%.2f', 0],
              [fair_rate => '  rate of all', 'Gbit/s'],
          ] },
        { name => 'wan', network => 'wan', of => $of,
          run  => sub { far(@_, 'wan', %size) },
          rows => [[wan_rate => "$far s of 40 ms, 200 Mbit/s: rate", 'Mbit/s',
                    '%.0f']] },
        { name => 'lossy', network => 'lossy', of => $of,
          run  => sub { far(@_, 'lossy', %size) },
          rows => [[lossy_rate => "$far s of that with 0.5% loss: rate",
                    'Mbit/s', '%.0f']] },
        { name => 'derp', network => 'derp',
          of   => [grep { $_ ne 'plain' } @$of],
          run  => sub { proxy(@_, 'derp') },
          rows => [
              [derp_cpu  => "proxy $derp MB by DERP: server's CPU", 's/GB'],
              [derp_rate => '  rate', 'Gbit/s', '%.3f'],
          ] },
        { name => 'derp_own', network => 'derp', own => 1,
          of   => [grep { !/^(?:tsnet|plain)$/ } @$of],
          run  => sub { proxy(@_, 'derp_own') },
          rows => [
              [derp_own_cpu  => "$derp MB of our own node by DERP: server's "
               . 'CPU', 's/GB'],
              [derp_own_rate => '  rate', 'Gbit/s', '%.3f'],
              [derp_pair_rate => 'the same program at both ends: rate',
               'Gbit/s', '%.3f'],
          ] },
    );
}


sub small_rows {
    my ($as, $title) = @_;

    return [
        ["${as}_cpu"    => "$title: server's CPU", 'us/req', '%.1f'],
        ["${as}_nginx"  => '  of it nginx', 'us/req', '%.1f'],
        ["${as}_beyond" => "  machine's CPU but the client's", 'us/req',
         '%.1f'],
        ["${as}_rate"   => '  rate', 'req/s', '%.0f'],
        ["${as}_p50"    => '  latency, median', 'ms'],
        ["${as}_p99"    => '  latency, 99%', 'ms'],
    ];
}


sub paced_rows {
    my ($as, $title) = @_;

    return [
        ["${as}_rate" => "$title: rate", 'req/s', '%.0f', 0],
        ["${as}_p50"  => '  latency, median', 'ms'],
        ["${as}_p99"  => '  latency, 99%', 'ms'],
        ["${as}_cpu"  => "  server's CPU", 'us/req', '%.1f'],
    ];
}


sub tls_rows {
    my ($as, $title) = @_;

    return [
        ["${as}_cpu"   => "$title: server's CPU", 'us/conn', '%.0f'],
        ["${as}_nginx" => '  of it nginx', 'us/conn', '%.0f'],
        ["${as}_rate"  => '  rate', 'conn/s', '%.0f'],
    ];
}


# The biggest file of a network.

sub file_mb {
    my ($network, %size) = @_;

    return { lan => $size{big_mb}, wan => $size{wan_mb},
             lossy => $size{wan_mb}, derp => $size{derp_mb} }->{$network};
}


# The client of a figure by its name.

sub client {
    my ($network, $as) = @_;
    return $as =~ /_own$/ ? ($network->own)[0] : $network->peer;
}


sub bulk {
    my ($network, $server, %size) = @_;
    my $r = $network->measure($server, ['load', '-t', $size{limit_s},
        $server->address, 80, '/big']);
    my $gb = $r->{bytes} / 1e9;

    return (
        bulk_cpu    => $r->{server_cpu} / $gb,
        bulk_nginx  => $r->{nginx_cpu} / $gb,
        bulk_beyond => $r->{beyond_cpu} / $gb,
        bulk_rate   => $gb * 8 / $r->{seconds},
        $server->kind =~ /^(?:tailscaled|plain)$/
            ? (pair_rate => $gb * 8 / $r->{seconds}) : (),
    );
}


# A user of the host asks the server, which asks the peer on the tailnet, or a
# node of ours. By DERP both are the same program, too: ours, or tailscaled.

sub proxy {
    my ($network, $server, $as) = @_;
    my $web = $network->tailnet->{peer_web};
    my ($own) = $as =~ /_own$/ ? $network->own : ();
    my $r = $network->measure($server, ['load', '-t', 120, $server->host->ip4,
        $own ? $server->proxy_own_port : $server->proxy_port, '/big'],
        at => $network->{user}, aside => [$own
            ? ($own->pids, $own->nginx_pids) : ($web->pid, $web->workers)]);
    my $gb = $r->{bytes} / 1e9;
    my %row = (
        "${as}_cpu"  => $r->{server_cpu} / $gb,
        "${as}_rate" => $gb * 8 / $r->{seconds},
    );

    $row{proxy_nginx} = $r->{nginx_cpu} / $gb if $as eq 'proxy';
    $row{derp_pair_rate} = $row{"${as}_rate"}
        if $as eq ($server->is_module ? 'derp_own' : 'derp')
        && $server->kind ne 'tsnet';

    return %row;
}


# To a node of ours. What has the same program at both ends is there for each
# kind: by "bulk" where the client is tailscaled, or nothing.

sub ends {
    my ($network, $server, %size) = @_;
    my $r = $network->measure($server, ['load', '-t', $size{limit_s},
        $server->address, 80, '/big'], by => ($network->own)[0]);
    my $gb = $r->{bytes} / 1e9;

    return (
        ends_rate => $gb * 8 / $r->{seconds},
        ends_cpu  => $r->{server_cpu} / $gb,
        $server->is_module ? (pair_rate => $gb * 8 / $r->{seconds}) : (),
    );
}


sub small {
    my ($network, $server, $as, %size) = @_;
    my $r = $network->measure($server, ['load', '-t', $size{limit_s},
        '-c', $size{conns}, '-n', $size{small}, $server->address, 80, '/1k'],
        by => client($network, $as));
    my $n = $r->{complete};

    $network->{peak}{$as} = $n / $r->{seconds}
        if $server->kind eq 'tailscaled';

    return (
        "${as}_cpu"    => $r->{server_cpu} / $n * 1e6,
        "${as}_nginx"  => $r->{nginx_cpu} / $n * 1e6,
        "${as}_beyond" => $r->{beyond_cpu} / $n * 1e6,
        "${as}_rate"   => $n / $r->{seconds},
        "${as}_p50"    => $r->{p50_us} / 1000,
        "${as}_p99"    => $r->{p99_us} / 1000,
    );
}


# The same for everybody: half of the most that tailscaled + nginx did with
# this client in this round.

sub paced {
    my ($network, $server, $as, %size) = @_;
    my $peak = $as =~ s/^paced/small/r;
    my $rival = $network->server('tailscaled');

    small($network, $rival, $peak, %size)
        if $rival && !$network->{peak}{$peak};

    my $rate = int(($network->{peak}{$peak} // 2 * $size{rate}) / 2);
    my $r = $network->measure($server, ['load', '-t', $size{limit_s},
        '-c', $size{conns}, '-r', $rate, '-n', int($rate * $size{paced_s}),
        $server->address, 80, '/1k'], by => client($network, $as));

    return (
        "${as}_rate" => $r->{complete} / $r->{seconds},
        "${as}_p50"  => $r->{p50_us} / 1000,
        "${as}_p99"  => $r->{p99_us} / 1000,
        "${as}_cpu"  => $r->{server_cpu} / $r->{complete} * 1e6,
    );
}


sub tls {
    my ($network, $server, $as, %size) = @_;
    my $r = $network->measure($server, ['handshakes', 32, $size{tls},
        $size{limit_s}, $server->address, 443, '/1k'],
        by => client($network, $as));

    return (
        "${as}_cpu"   => $r->{server_cpu} / $r->{complete} * 1e6,
        "${as}_nginx" => $r->{nginx_cpu} / $r->{complete} * 1e6,
        "${as}_rate"  => $r->{complete} / $r->{seconds},
    );
}


# Few requests, alone, beside a download by the same node, and beside one by
# another, the real tailscaled.

sub loaded {
    my ($network, $server, %size) = @_;
    my ($own) = $network->own;
    my $n = $size{loaded_rate} * $size{loaded_s};
    my %row;

    my $ask = sub {
        my $r = $network->measure($server, ['load', '-t', $size{limit_s},
            '-c', $size{conns}, '-r', $size{loaded_rate}, '-n', $n,
            $server->address, 80, '/1k'], by => $own);

        return $r->{p99_us} / 1000;
    };

    $row{loaded_quiet} = $ask->();

    for (['loaded_same', 'loaded_times', $own],
         ['loaded_other', 'loaded_other_times', $network->peer])
    {
        my ($name, $times, $who) = @$_;

        $network->downloading($server, $size{loaded_s} + 1, [$who], sub {
            $row{$name} = $ask->();
        });
        $row{$times} = $row{$name} / $row{loaded_quiet};
    }

    return %row;
}


# Jain's index: (sum of x)^2 / (n * sum of x^2), from 1 / n to 1.

sub fair {
    my ($network, $server, %size) = @_;
    my @rate = sort { $a <=> $b } map { $_->{bytes} * 8 / 1e9 / $_->{seconds} }
        $network->downloading($server, $size{fair_s}, [$network->own]);
    my ($sum, $squares) = (0, 0);

    for (@rate) {
        $sum += $_;
        $squares += $_ * $_;
    }

    return (
        fair_jain  => $sum * $sum / (@rate * $squares),
        fair_worst => $rate[0] / $rate[-1],
        fair_rate  => $sum,
    );
}


sub far {
    my ($network, $server, $as, %size) = @_;
    my $r = $network->measure($server, ['load', '-t', $size{far_s},
        $server->address, 80, '/big'], partial => 1);

    return ("${as}_rate" => $r->{bytes} * 8 / 1e6 / $r->{seconds});
}


sub memory {
    my ($server, $when) = @_;
    my $m = Bench::Usage::memory($server->tunnel_pids);

    return ("rss_$when" => $m->{rss}, "pss_$when" => $m->{pss});
}


# A download in the course of which its carrier is killed, by the load
# generator itself when a quarter has come; compared with the file.

sub killed_download {
    my ($network, $server, %size) = @_;
    my $lab = $network->lab;
    my $pid = $server->carrier_pid;
    my $bytes = int($size{big_mb} * 1e6 / 4);

    my $load = $network->tailnet->{peer}->host->start(
        'load-' . $server->kind . '-' . ++$network->{downloads},
        [$lab->build('t/bench/load'), '-t', $size{limit_s}, '-x',
         $network->root . '/big', '-k', "$bytes:$pid", $server->address, 80,
         '/big']);

    while ($load->alive) {
        $server->restart_if_needed;
        sleep(0.01);
    }

    my $r = Bench::Network::result($load->log)
        // die "load: " . $load->log;

    return (
        kill_complete => $load->status == 0 ? 1 : 0,
        kill_stall    => $r->{gap_ms} / 1000,
    );
}


1;
