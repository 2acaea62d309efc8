package Bench::Figures;

# The figures of "make bench": what each does, in which network, whom it can
# be asked of, and the rows that it fills.

use strict;
use warnings;

use Time::HiRes qw(sleep);

use Bench::Network;
use Bench::Usage;

my @ALL = qw(ours lwip tailscaled tsnet plain);
my @TUNNELS = qw(ours lwip tailscaled tsnet);


# all(%size): in the order of the table. Each is { name, network, of => [server
# kinds], run => sub ($network, $server) returning row => value, rows => [name,
# title, unit, format] }.

sub all {
    my (%size) = @_;
    my ($mb, $far, $derp) = @size{qw(big_mb far_s derp_mb)};
    my ($n, $tls) = @size{qw(conns tls)};

    return (
        { name => 'bulk', network => 'lan', of => \@ALL,
          run  => sub { bulk(@_, %size) },
          rows => [
              [bulk_cpu    => "serve $mb MB: server's CPU", 's/GB'],
              [bulk_nginx  => '  of it nginx', 's/GB'],
              [bulk_beyond => "  machine's CPU but the client's", 's/GB'],
              [bulk_rate   => '  rate', 'Gbit/s'],
          ] },
        { name => 'proxy', network => 'lan', of => \@ALL,
          run  => sub { proxy(@_, 'proxy', %size) },
          rows => [
              [proxy_cpu   => "proxy $mb MB from a peer: server's CPU",
               's/GB'],
              [proxy_nginx => '  of it nginx', 's/GB'],
              [proxy_rate  => '  rate', 'Gbit/s'],
          ] },
        { name => 'ends', network => 'lan', of => [qw(ours lwip)],
          run  => sub { ends(@_, %size) },
          rows => [
              [ends_rate => "serve $mb MB to our own node: rate", 'Gbit/s'],
              [ends_cpu  => "  server's CPU", 's/GB'],
          ] },
        { name => 'small', network => 'lan', of => \@ALL,
          run  => sub { small(@_, %size) },
          rows => [
              [small_cpu    => "GET 1 KB, $n conns: server's CPU", 'us/req',
               '%.1f'],
              [small_nginx  => '  of it nginx', 'us/req', '%.1f'],
              [small_beyond => "  machine's CPU but the client's", 'us/req',
               '%.1f'],
              [small_rate   => '  rate', 'req/s', '%.0f'],
              [small_p50    => '  latency, median', 'ms'],
              [small_p99    => '  latency, 99%', 'ms'],
          ] },
        { name => 'paced', network => 'lan', of => \@ALL,
          run  => sub { paced(@_, %size) },
          rows => [
              [paced_p50 => "GET 1 KB, $size{rate}/s: latency, median", 'ms'],
              [paced_p99 => '  latency, 99%', 'ms'],
              [paced_cpu => "  server's CPU", 'us/req', '%.1f'],
          ] },
        { name => 'tls', network => 'lan', of => \@ALL,
          run  => sub { tls(@_, %size) },
          rows => [
              [tls_cpu   => "$tls new TLS 1.3 connections: server's CPU",
               'us/conn', '%.0f'],
              [tls_nginx => '  of it nginx', 'us/conn', '%.0f'],
              [tls_rate  => '  rate', 'conn/s', '%.0f'],
          ] },
        { name => 'wan', network => 'wan', of => \@ALL,
          run  => sub { far(@_, 'wan', %size) },
          rows => [[wan_rate => "$far s of 40 ms, 200 Mbit/s: rate", 'Mbit/s',
                    '%.0f']] },
        { name => 'lossy', network => 'lossy', of => \@ALL,
          run  => sub { far(@_, 'lossy', %size) },
          rows => [[lossy_rate => '  with 0.5% loss', 'Mbit/s', '%.0f']] },
        { name => 'derp', network => 'derp', of => \@TUNNELS,
          run  => sub { proxy(@_, 'derp') },
          rows => [
              [derp_cpu  => "proxy $derp MB by DERP: server's CPU", 's/GB'],
              [derp_rate => '  rate', 'Gbit/s', '%.3f'],
          ] },
    );
}


# The biggest file of a network.

sub file_mb {
    my ($network, %size) = @_;

    return { lan => $size{big_mb}, wan => $size{wan_mb},
             lossy => $size{wan_mb}, derp => $size{derp_mb} }->{$network};
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
    );
}


# A user of the host asks the server, which asks the peer on the tailnet.

sub proxy {
    my ($network, $server, $as) = @_;
    my $web = $network->tailnet->{peer_web};
    my $r = $network->measure($server, ['load', '-t', 120, $server->host->ip4,
        $server->proxy_port, '/big'], at => $network->{user},
        aside => [$web->pid, $web->workers]);
    my $gb = $r->{bytes} / 1e9;
    my %row = (
        "${as}_cpu"  => $r->{server_cpu} / $gb,
        "${as}_rate" => $gb * 8 / $r->{seconds},
    );

    $row{proxy_nginx} = $r->{nginx_cpu} / $gb if $as eq 'proxy';

    return %row;
}


sub ends {
    my ($network, $server, %size) = @_;
    my ($into, @pids) = $network->own_client;
    my $r = $network->measure($server, ['load', '-t', $size{limit_s},
        $server->address, 80, '/big'], into => $into, aside => \@pids);
    my $gb = $r->{bytes} / 1e9;

    return (
        ends_rate => $gb * 8 / $r->{seconds},
        ends_cpu  => $r->{server_cpu} / $gb,
    );
}


sub small {
    my ($network, $server, %size) = @_;
    my $r = $network->measure($server, ['load', '-t', $size{limit_s},
        '-c', $size{conns}, '-n', $size{small}, $server->address, 80, '/1k']);
    my $n = $r->{complete};

    return (
        small_cpu    => $r->{server_cpu} / $n * 1e6,
        small_nginx  => $r->{nginx_cpu} / $n * 1e6,
        small_beyond => $r->{beyond_cpu} / $n * 1e6,
        small_rate   => $n / $r->{seconds},
        small_p50    => $r->{p50_us} / 1000,
        small_p99    => $r->{p99_us} / 1000,
    );
}


# The same for everybody, about half of what tailscaled + nginx can do.

sub paced {
    my ($network, $server, %size) = @_;
    my $r = $network->measure($server, ['load', '-t', $size{limit_s},
        '-c', $size{conns}, '-r', $size{rate}, '-n', $size{rate} * $size{paced_s},
        $server->address, 80, '/1k']);

    return (
        paced_p50 => $r->{p50_us} / 1000,
        paced_p99 => $r->{p99_us} / 1000,
        paced_cpu => $r->{server_cpu} / $r->{complete} * 1e6,
    );
}


sub tls {
    my ($network, $server, %size) = @_;
    my $r = $network->measure($server, ['handshakes', 32, $size{tls},
        $size{limit_s}, $server->address, 443, '/1k']);

    return (
        tls_cpu   => $r->{server_cpu} / $r->{complete} * 1e6,
        tls_nginx => $r->{nginx_cpu} / $r->{complete} * 1e6,
        tls_rate  => $r->{complete} / $r->{seconds},
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
