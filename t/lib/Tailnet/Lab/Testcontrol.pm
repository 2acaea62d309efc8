package Tailnet::Lab::Testcontrol;

# tailscale's own test control server (t/peers/control), with its admin port.

use strict;
use warnings;

use Carp qw(croak);
use IO::Socket::UNIX;
use JSON::PP ();

use Tailnet::Lab::Derper;

my $JSON = JSON::PP->new->canonical->allow_nonref;


# new($lab, host => $host, derp => [...], tls => 0, auth_key => '',
#     domain => 'lab.test', args => [...])

sub new {
    my ($class, $lab, %opt) = @_;
    my $host = $opt{host} // croak 'testcontrol needs a host';

    my $self = bless {
        lab    => $lab,
        host   => $host,
        domain => $opt{domain} // 'lab.test',
        dir    => $lab->path('testcontrol-' . $host->name),
        port   => $opt{port} // ($opt{tls} ? 9443 : 9080),
        args   => $opt{args} // [],
        auth_key => $opt{auth_key} // '',
    }, $class;

    mkdir $self->{dir} or croak "$self->{dir}: $!";

    $self->{url} = sprintf('%s://%s:%d', $opt{tls} ? 'https' : 'http',
                           $host->ip4, $self->{port});

    Tailnet::Lab::Derper::write_map($lab, "$self->{dir}/derp.json",
                                    @{$opt{derp} // []});

    if ($opt{tls}) {
        my ($cert, $key) = $lab->ca->issue($self->{dir}, $host->ip4,
                                           $host->ip6, 'control.test');
        push @{$self->{args}}, "-tls-cert=$cert", "-tls-key=$key";
    }

    $self->start;

    return $self;
}


sub url { return $_[0]{url} }


# A new start forgets all nodes: it has no state on disk.

sub start {
    my ($self) = @_;

    unlink "$self->{dir}/admin";

    $self->{process} = $self->{host}->start(
        'testcontrol-' . $self->{host}->name,
        [$self->{lab}->bin('testcontrol'), "-listen=:$self->{port}",
         "-url=$self->{url}", "-admin=unix:$self->{dir}/admin",
         "-derp-map=$self->{dir}/derp.json", "-domain=$self->{domain}",
         "-auth-key=$self->{auth_key}", @{$self->{args}}]);

    $self->{process}->wait_until(10, 'the ports', sub {
        -S "$self->{dir}/admin" && $self->{host}->accepts($self->{port})
    });
}


sub stop { return $_[0]{process}->stop }


# The one key it accepts; when none is asked for, any.

sub auth_key {
    my ($self) = @_;
    return $self->{auth_key} || 'any';
}


# call(GET => '/nodes'), call(POST => '/expire-all?on=1'),
# call(POST => "/raw-map?node=$key", {...}): see t/peers/control/admin.go.
# A string as body goes as it is.

sub call {
    my ($self, $method, $path, $body) = @_;

    my $socket = IO::Socket::UNIX->new(Peer => "$self->{dir}/admin")
        // croak "admin port: $!";

    $body = !defined $body ? '' : ref $body ? $JSON->encode($body) : $body;

    print $socket "$method $path HTTP/1.0\r\nHost: admin\r\n",
        'Content-Length: ', length($body), "\r\n\r\n", $body;

    local $/;
    my $answer = <$socket> // '';
    my ($head, $text) = split /\r\n\r\n/, $answer, 2;

    croak "$method $path: $answer" unless $head =~ m{^HTTP/1\.\d 200 };

    return $JSON->decode($text);
}


# All nodes as tailcfg.Node has them, or one by its host name.

sub nodes {
    my ($self) = @_;
    return @{$self->call(GET => '/nodes') // []};
}


sub node {
    my ($self, $hostname) = @_;
    my ($node) = grep { ($_->{Hostinfo}{Hostname} // '') eq $hostname }
        $self->nodes;

    return $node;
}


1;
