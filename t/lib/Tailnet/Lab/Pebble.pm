package Tailnet::Lab::Pebble;

# The ACME server pebble with its DNS server, on a host of the lab. Its own
# certificate is of the lab's CA; what it issues is of a CA that is new with
# each start, see root().

use strict;
use warnings;

use Carp qw(croak);
use JSON::PP ();

my $JSON = JSON::PP->new->canonical;


# new($lab, host => $host, nonces => 20, sleep => 1, validity => $seconds)
#   nonces: percent of good nonces that are refused
#   sleep: seconds, at most, before a validation

sub new {
    my ($class, $lab, %opt) = @_;
    my $host = $opt{host} // croak 'pebble needs a host';

    my $self = bless {
        lab      => $lab,
        host     => $host,
        dir      => $lab->path('pebble'),
        nonces   => $opt{nonces} // 20,
        sleep    => $opt{sleep} // 1,
        validity => $opt{validity} // 90 * 86400,
    }, $class;

    mkdir $self->{dir} or croak "$self->{dir}: $!";

    $self->{dns} = $host->start('challtestsrv',
        [$lab->bin('pebble-challtestsrv'), '-dnsserver', $host->ip4 . ':8053',
         '-management', ':8055', '-http01', '', '-https01', '',
         '-tlsalpn01', '', '-doh', '', '-defaultIPv4', '',
         '-defaultIPv6', '']);
    $self->{dns}->wait_until(10, 'the port', sub { $host->accepts(8055) });

    @{$self}{qw(cert key)} = $lab->ca->issue($self->{dir}, $host->ip4);

    $lab->write_file("$self->{dir}/config.json", $JSON->encode({ pebble => {
        listenAddress           => ':14000',
        managementListenAddress => ':15000',
        certificate             => $self->{cert},
        privateKey              => $self->{key},
        httpPort                => 5002,
        tlsPort                 => tls_port(),
        retryAfter              => { authz => 1, order => 1 },
        profiles                => { default => {
            description    => 'of the lab',
            validityPeriod => $self->{validity} + 0,
        } },
    } }));

    $self->start;

    return $self;
}


sub url { return sprintf 'https://%s:14000/dir', $_[0]{host}->ip4 }


# For testcontrol's -set-txt.

sub set_txt { return sprintf 'http://%s:8055/set-txt', $_[0]{host}->ip4 }


sub start {
    my ($self) = @_;
    my ($lab, $host) = @{$self}{qw(lab host)};

    $self->{process} = $host->start('pebble',
        [$lab->bin('pebble'), '-strict', '-config', "$self->{dir}/config.json",
         '-dnsserver', $host->ip4 . ':8053'],
        env => {
            PEBBLE_WFE_NONCEREJECT => $self->{nonces},
            PEBBLE_VA_SLEEPTIME    => $self->{sleep},
            PEBBLE_VA_ALWAYS_VALID => 0,
            PEBBLE_AUTHZREUSE      => 0,
            PEBBLE_CHAIN_LENGTH    => 2,
        });

    $self->{process}->wait_until(10, 'the ports', sub {
        $host->accepts(14000) && $host->accepts(15000)
    });

    my $r = $self->manage('/roots/0');
    croak "pebble's root: $r->{error}" unless $r->{ok};

    $lab->write_file($self->root, $r->{body});
}


# The file with the certificate of its CA.

sub root { return "$_[0]{dir}/root.crt" }


# A request to its management port, by POST with a body.

sub manage {
    my ($self, $path, $body) = @_;

    return $self->{host}->get(
        'https://' . $self->{host}->ip4 . ":15000$path",
        cacert => $self->{lab}->ca->cert,
        defined $body ? (body => $JSON->encode($body)) : ());
}


# What its DNS answers for this name.

sub set_address {
    my ($self, $name, $address) = @_;
    my $r = $self->{host}->get('http://127.0.0.1:8055/add-a',
        body => $JSON->encode({ host => "$name.", addresses => [$address] }));

    croak "add-a: $r->{status} $r->{error}" unless $r->{status} == 200;
}


# Where it connects to for tls-alpn-01.

sub tls_port { return 5001 }


# Has this certificate (PEM) renewed between these times (Unix seconds).

sub set_window {
    my ($self, $pem, $start, $end) = @_;

    my ($from, $to) = map {
        my @t = gmtime $_;
        sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $t[5] + 1900, $t[4] + 1,
            @t[3, 2, 1, 0]
    } ($start, $end);

    my $r = $self->manage('/set-renewal-info/', {
        Certificate => $pem,
        ARIResponse => $JSON->encode({
            suggestedWindow => { start => $from, end => $to } }),
    });

    croak "set-renewal-info: $r->{status} $r->{body} $r->{error}"
        unless $r->{ok} && $r->{status} == 200;
}


1;
